from __future__ import annotations

import pytest
import torch
from helpers.pools import pool, rows

from kneeal import acquisition
from kneeal.acquisition import Predictions


def fishers(predictions: Predictions) -> list[torch.Tensor]:
    assert predictions.features is not None
    p = predictions.require_log_probs().exp().mean(dim=1).max(dim=1).values
    return [q * (1 - q) * torch.outer(h, h) for q, h in zip(p, predictions.features, strict=True)]


def brute_force(predictions: Predictions, labeled: Predictions | None, n: int, penalty: float, times: int) -> set[int]:
    """Every trace from scratch: greedily forward, then greedily backward."""
    pool_, known = fishers(predictions), [] if labeled is None else fishers(labeled)
    fisher = sum([*pool_, *known])
    start = sum(known, penalty * torch.eye(len(pool_[0]), dtype=torch.float64))

    def trace(chosen: list[int]) -> float:
        return float(torch.trace(torch.linalg.inv(start + sum(pool_[i] for i in chosen)) @ fisher))

    chosen: list[int] = []
    for _ in range(min(times * n, len(pool_))):
        chosen.append(min((i for i in range(len(pool_)) if i not in chosen), key=lambda i: trace([*chosen, i])))
    while len(chosen) > n:
        chosen.remove(min(chosen, key=lambda i: trace([j for j in chosen if j != i])))
    return set(chosen)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("with_labels", [False, True])
def test_by_every_trace_from_scratch(times: int, with_labels: bool) -> None:
    for seed in range(3):
        predictions = pool(25, k=1, seed=seed, sharp=1.0)
        labeled = pool(6, k=1, seed=7, prefix="known") if with_labels else None
        strategy = acquisition.get("bait", regularization=0.5, oversampling=times)
        chosen = strategy.select(predictions, 6, labeled=labeled, seed=0)
        assert set(rows(predictions, chosen)) == brute_force(predictions, labeled, 6, 0.5, times)


def test_scores_are_traces_of_the_information() -> None:
    predictions = pool(10, k=1)
    expected = [float(torch.trace(information)) for information in fishers(predictions)]
    assert acquisition.get("bait").score(predictions).tolist() == pytest.approx(expected)


def test_a_copy_teaches_less_than_something_new() -> None:
    h = torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    predictions = Predictions(tuple("abc"), torch.tensor([[[0.5, 0.5]]] * 3).log(), h)
    assert "c" in acquisition.get("bait", regularization=0.01, oversampling=1).select(predictions, 2, seed=0)
