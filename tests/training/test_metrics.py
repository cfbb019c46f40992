from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kneeal.training.metrics import balanced_accuracy, evaluate


def test_balanced_accuracy_is_the_mean_recall_over_the_grades_present() -> None:
    # Grade 2 is predicted but absent: it must not count as a recall of 0.
    confusion = torch.tensor([[8, 0, 2], [1, 1, 2], [0, 0, 0]])
    assert float(balanced_accuracy(confusion)) == pytest.approx((0.8 + 0.25) / 2)


def certain(predicted: list[int], p: float = 0.8) -> torch.Tensor:
    probs = torch.full((len(predicted), 5), (1 - p) / 4)
    probs[range(len(predicted)), predicted] = p
    return probs.log()


def test_every_metric_in_closed_form() -> None:
    metrics, confusion = evaluate(certain([0, 0, 2, 4]), torch.tensor([0, 1, 2, 2]))
    assert confusion == [[1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 1, 0, 1], [0] * 5, [0] * 5]
    assert metrics["balanced_accuracy"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert metrics["recall_2"] == 0.5
    assert math.isnan(metrics["recall_3"])
    assert metrics["mae"] == pytest.approx(3 / 4)
    assert metrics["ece"] == pytest.approx(0.8 - 0.5, abs=1e-6)
    assert metrics["nll"] == pytest.approx(-(2 * math.log(0.8) + 2 * math.log(0.05)) / 4)
    # Quadratic kappa by hand: observed and expected squared differences.
    observed, true, predicted = 0 + 1 + 0 + 4, [0, 1, 2, 2], [0, 0, 2, 4]
    expected = sum((t - p) ** 2 for t in true for p in predicted) / 4
    assert metrics["quadratic_kappa"] == pytest.approx(1 - observed / expected)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_perfect_grades(kl: list[int]) -> None:
    metrics, _ = evaluate(certain(kl, 0.999), torch.tensor(kl))
    assert metrics["balanced_accuracy"] == 1.0
    assert metrics["mae"] == 0.0
