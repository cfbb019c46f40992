from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.pools import pool, rows

from kneeal import acquisition
from kneeal.acquisition import Predictions, measures
from kneeal.acquisition.coverage import pure_radius, smallest_distance
from kneeal.acquisition.geometry import k_means


@pytest.mark.parametrize("seed", range(3))
def test_each_is_the_farthest_from_all_before(seed: int) -> None:
    predictions, labeled = pool(30, seed=seed), pool(4, seed=9, prefix="known")
    x, known = predictions.features, labeled.features
    assert x is not None
    assert known is not None
    chosen = rows(predictions, acquisition.get("coreset").select(predictions, 8, labeled=labeled, seed=0))
    centers = list(known)
    for position in chosen:
        distances = [min(float((p - c).norm()) for c in centers) for p in x]
        assert distances[position] == pytest.approx(max(distances))
        centers.append(x[position])


def test_it_covers_within_twice_the_best_radius() -> None:
    """The known guarantee of the greedy choice, against the best of all sets."""
    from itertools import combinations

    predictions = pool(12, f=2, seed=4)
    x = predictions.features
    assert x is not None
    distance = torch.cdist(x, x)
    best = min(float(distance[list(s)].amin(dim=0).max()) for s in combinations(range(12), 3))
    for seed in range(10):
        chosen = rows(predictions, acquisition.get("coreset").select(predictions, 3, seed=seed))
        assert float(distance[chosen].amin(dim=0).max()) <= 2 * best + 1e-9


def test_without_labels_the_first_is_any() -> None:
    predictions = pool(6)
    firsts = {acquisition.get("coreset").select(predictions, 1, seed=seed)[0] for seed in range(60)}
    assert firsts == set(predictions.ids)


def test_probabilities_are_not_needed() -> None:
    predictions = pool(6)
    assert (
        len(acquisition.get("coreset").select(Predictions(predictions.ids, None, predictions.features), 3, seed=0)) == 3
    )


@pytest.mark.parametrize("name", ["coreset", "kmeans", "typiclust", "probcover", "max_herding", "cluster_margin"])
@pytest.mark.parametrize("offset", [1e3, 1e4])
def test_an_offset_that_all_features_share_changes_nothing(name: str, offset: float) -> None:
    predictions, labeled = pool(60, f=16, seed=2), pool(5, f=16, seed=9, prefix="known")
    options = {} if name in ("coreset", "max_herding", "cluster_margin") else {"normalize": False}

    def shifted(knees: Predictions, by: float) -> Predictions:
        assert knees.features is not None
        # Multiples of 1/128 survive the shift in single precision.
        x = (knees.features * 128).round() / 128
        return replace(knees, features=(x + by).float())

    def chosen(by: float, dtype: torch.dtype = torch.float32) -> set[str]:
        pool_, known = shifted(predictions, by), shifted(labeled, by)
        assert pool_.features is not None and known.features is not None
        pool_, known = (replace(p, features=p.features.to(dtype)) for p in (pool_, known))  # type: ignore[union-attr]
        return set(acquisition.get(name, **options).select(pool_, n, labeled=known, seed=3))

    n = 6 if name == "kmeans" else 20  # a cluster of two has two central knees
    if name == "max_herding":  # directions do depend on the offset: double precision says how
        options = {"length_scale": 5.0 / offset}
        assert len(chosen(offset) & chosen(offset, torch.float64)) >= 18
    else:
        assert chosen(offset) == chosen(0.0)


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


def unit(predictions: Predictions) -> torch.Tensor:
    assert predictions.features is not None
    return predictions.features / predictions.features.norm(dim=1, keepdim=True)


def coverage(x: torch.Tensor, centers: torch.Tensor, weights: torch.Tensor, scale: float) -> float:
    kernel = torch.exp(-((x[:, None] - centers) ** 2).sum(-1) / scale**2)
    return float((weights * kernel.max(dim=1).values).mean())


def assert_greedy(chosen: list[int], x: torch.Tensor, known: torch.Tensor, weights: torch.Tensor, scale: float) -> None:
    """Every coverage from scratch; of two knees that only cover each other, either may come first."""
    for k in range(len(chosen)):
        free = [i for i in range(len(x)) if i not in chosen[:k]]
        after = {i: coverage(x, torch.cat([known, x[[*chosen[:k], i]]]), weights, scale) for i in free}
        assert after[chosen[k]] == pytest.approx(max(after.values()), abs=1e-12)


@pytest.mark.parametrize("labels", [0, 6])
@pytest.mark.parametrize("scale", [0.4, 1.0])
def test_max_herding_by_every_coverage_from_scratch(labels: int, scale: float) -> None:
    for seed in range(3):
        predictions, labeled = pool(40, seed=seed), pool(6, seed=9, prefix="known").take(list(range(labels)))
        chosen = acquisition.get("max_herding", length_scale=scale).select(predictions, 8, labeled=labeled, seed=0)
        assert len(set(chosen)) == 8
        assert_greedy(rows(predictions, chosen), unit(predictions), unit(labeled), torch.ones(40), scale)


@pytest.mark.parametrize("labels", [0, 6])
def test_uncertainty_herding_by_every_coverage_from_scratch(labels: int) -> None:
    for seed in range(3):
        predictions, labeled = pool(40, seed=seed), pool(6, seed=9, prefix="known").take(list(range(labels)))
        chosen = acquisition.get("uncertainty_herding").select(predictions, 8, labeled=labeled, seed=0)
        known = unit(labeled)
        scale = min([1.0, *(float((a - b).norm()) for i, a in enumerate(known) for b in known[:i])])
        weights = measures.margin(predictions.require_log_probs())
        assert len(set(chosen)) == 8
        assert_greedy(rows(predictions, chosen), unit(predictions), known, weights, scale)


def test_the_lazy_choice_is_the_greedy_one_in_a_pool_of_several_batches() -> None:
    predictions = pool(300)
    chosen = acquisition.get("max_herding", length_scale=0.3).select(predictions, 12, seed=0)
    assert_greedy(rows(predictions, chosen), unit(predictions), unit(predictions)[:0], torch.ones(300), 0.3)


def test_a_certain_part_of_the_pool_needs_no_cover() -> None:
    x = torch.tensor([[1.0, 0.0]] * 10 + [[0.0, 1.0]] * 3)
    log_probs = torch.tensor([[[0.999, 0.001]]] * 10 + [[[0.5, 0.5]]] * 3).log()
    knees = Predictions(tuple("abcdefghijklm"), log_probs, x)
    assert acquisition.get("max_herding").select(knees, 1, seed=0)[0] in "abcdefghij"
    assert acquisition.get("uncertainty_herding").select(knees, 1, seed=0)[0] in "klm"


def test_a_large_pool_is_subsampled() -> None:
    predictions = pool(200)
    strategy = acquisition.get("max_herding", max_knees=50)
    assert len({strategy.select(predictions, 3, seed=seed) for seed in range(4)}) == 4
    assert len(set(strategy.select(predictions, 120, seed=0))) == 120


def test_copies_do_not_shrink_the_length_scale_to_nothing() -> None:
    x = torch.nn.functional.normalize(torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 1.2]]), dim=1)
    assert smallest_distance(x, default=1.0) == pytest.approx(float((x[0] - x[2]).norm()), rel=1e-3)
    assert smallest_distance(x[:1], default=1.0) == 1.0
