from __future__ import annotations

import pytest
import torch
from helpers.pools import pool, rows

from kneeal import acquisition
from kneeal.acquisition import Predictions
from kneeal.acquisition.geometry import k_means
from kneeal.acquisition.probcover import pure_radius


@pytest.mark.parametrize("seed", range(3))
def test_each_ball_covers_the_most_of_what_is_left(seed: int) -> None:
    predictions, labeled = pool(40, seed=seed), pool(3, seed=8, prefix="known")
    x, known = predictions.features, labeled.features
    assert x is not None
    assert known is not None
    delta = 1.5
    chosen = acquisition.get("probcover", delta=delta, normalize=False).select(predictions, 9, labeled=labeled, seed=0)
    graph = torch.cdist(x, x) <= delta
    left = {i for i in range(40) if float(torch.cdist(x[i : i + 1], known).min()) > delta}
    assert 0 < len(left) < 40
    for position in rows(predictions, chosen):
        gains = [len(left & set(torch.nonzero(graph[i])[:, 0].tolist())) for i in range(40)]
        assert gains[position] == max(gains) or max(gains) == 0
        left -= set(torch.nonzero(graph[position])[:, 0].tolist())


def test_the_radius_is_the_largest_with_enough_pure_balls() -> None:
    x = pool(50).features
    assert x is not None
    found = pure_radius(x, 3, 0.8, torch.Generator().manual_seed(0))
    labels = k_means(x, 3, torch.Generator().manual_seed(0))[1]
    distance = torch.cdist(x, x)

    def purity(radius: float) -> float:
        pure = [bool((labels[distance[i] <= radius] == labels[i]).all()) for i in range(50)]
        return sum(pure) / 50

    assert purity(found) >= 0.8
    larger = found * 1.0001
    assert purity(larger) < 0.8


def test_one_cluster_means_one_ball() -> None:
    x = torch.zeros(5, 2)
    assert pure_radius(x, 2, 0.95, torch.Generator().manual_seed(0)) > 0


def test_a_large_pool_is_sampled() -> None:
    predictions = pool(60)
    chosen = acquisition.get("probcover", max_knees=20).select(predictions, 30, seed=0)
    assert len(set(chosen)) == 30


def test_radius_is_found_without_being_given() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.cat(
        [5.0 * torch.eye(3)[k] + 0.1 * torch.randn(n, 3, generator=generator) for k, n in enumerate((9, 5, 7))]
    )
    predictions = Predictions(tuple(f"{k}{i}" for k, n in enumerate((9, 5, 7)) for i in range(n)), None, x)
    chosen = acquisition.get("probcover", n_clusters=3).select(predictions, 3, seed=0)
    assert [i[0] for i in chosen] == ["0", "2", "1"]
