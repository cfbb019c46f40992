from __future__ import annotations

import pytest
import torch
from helpers.pools import pool, rows

from kneeal import acquisition
from kneeal.acquisition import Predictions


def test_score_is_the_share_of_samples_that_change_the_grade() -> None:
    predictions = pool(30, k=7)
    probs = predictions.require_log_probs().exp().tolist()
    expected = []
    for knee in probs:
        mean = [sum(sample[c] for sample in knee) for c in range(3)]
        grade = mean.index(max(mean))
        expected.append(sum(sample.index(max(sample)) != grade for sample in knee) / 7)
    assert torch.allclose(acquisition.get("drop_query").score(predictions), torch.tensor(expected))


def clumps(changing: list[bool]) -> Predictions:
    """Groups of nine knees around a center, of which the first lies exactly on it."""
    sure = torch.tensor([[0.9, 0.05, 0.05]] * 5)
    split = torch.tensor([[0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.0, 0.9, 0.1], [0.1, 0.0, 0.9], [0.1, 0.2, 0.7]])
    ring = torch.tensor([[0.0, 0.0], *([a, b] for a in (-1.0, 0.0, 1.0) for b in (-1.0, 0.0, 1.0) if (a, b) != (0, 0))])
    x = torch.cat([ring + 100.0 * k for k in range(len(changing))])
    log_probs = torch.stack([split if c else sure for c in changing for _ in range(9)]).log()
    return Predictions(tuple(f"{'abcdef'[k]}{i}" for k in range(len(changing)) for i in range(9)), log_probs, x)


def test_candidates_change_their_grade_and_the_central_one_of_each_cluster_is_taken() -> None:
    predictions = clumps([True, False, True, True])
    assert float(acquisition.get("drop_query").score(predictions)[0]) == pytest.approx(0.6)
    chosen = acquisition.get("drop_query").select(predictions, 3, seed=0)
    assert set(chosen) == {"a0", "c0", "d0"}


def test_too_few_candidates_are_filled_up_by_those_that_change_most() -> None:
    predictions = pool(40, k=6, sharp=0.8)
    changes = acquisition.get("drop_query").score(predictions)
    n = int((changes > 0.5).sum()) + 4
    chosen = rows(predictions, acquisition.get("drop_query").select(predictions, n, seed=0))
    left = [k for k in range(40) if k not in chosen]
    assert float(changes[chosen].min()) >= float(changes[left].max())
