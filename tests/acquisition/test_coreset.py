from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.pools import pool, rows

from kneeal import acquisition
from kneeal.acquisition import Predictions


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
