from __future__ import annotations

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
    centres = list(known)
    for position in chosen:
        distances = [min(float((p - c).norm()) for c in centres) for p in x]
        assert distances[position] == pytest.approx(max(distances))
        centres.append(x[position])


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
