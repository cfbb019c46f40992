from __future__ import annotations

import math

import pytest
import torch
from helpers.pools import pool

from kneeal import acquisition
from kneeal.acquisition import epig
from kneeal.acquisition.epig import expected_predictive_information_gain


def mutual_information(x: list[list[float]], y: list[list[float]]) -> float:
    """I(y; y*) of two knees [K][C] from the table of their joint probabilities."""
    k = len(x)
    joint = [[sum(x[s][a] * y[s][b] for s in range(k)) / k for b in range(len(y[0]))] for a in range(len(x[0]))]
    left = [sum(row) for row in joint]
    right = [sum(row[b] for row in joint) for b in range(len(joint[0]))]
    return sum(
        p * math.log(p / (left[a] * right[b])) for a, row in enumerate(joint) for b, p in enumerate(row) if p > 0
    )


def test_by_the_joint_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epig, "_BLOCK", 100)
    predictions, targets = pool(12, seed=1), pool(7, seed=2)
    x, y = predictions.require_log_probs().exp().tolist(), targets.require_log_probs().exp().tolist()
    expected = [sum(mutual_information(a, b) for b in y) / len(y) for a in x]
    found = expected_predictive_information_gain(predictions.require_log_probs(), targets.require_log_probs())
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


def test_the_pool_itself_is_to_be_predicted() -> None:
    predictions = pool(15)
    score = acquisition.get("epig").score(predictions)
    torch.testing.assert_close(
        score, expected_predictive_information_gain(predictions.require_log_probs(), predictions.require_log_probs())
    )
    part = acquisition.get("epig", n_targets=5).score(predictions)
    assert not torch.allclose(score, part)
    turned = predictions.take(list(reversed(range(15))))
    torch.testing.assert_close(acquisition.get("epig", n_targets=5).score(turned).flip(0), part)


def test_a_knee_that_says_nothing_of_others_is_not_wanted() -> None:
    """Two samples that agree everywhere but at one odd knee: BALD wants it, EPIG knows that it teaches nothing."""
    shared = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]])
    odd = torch.tensor([[0.95, 0.05], [0.05, 0.95], [0.95, 0.05], [0.05, 0.95]])
    log_probs = torch.stack([odd, *[shared] * 5]).log()
    predictions = acquisition.Predictions(tuple("oabcde"), log_probs)
    assert acquisition.get("bald").select(predictions, 1, seed=0) == ("o",)
    assert "o" not in acquisition.get("epig").select(predictions, 5, seed=0)
