from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneeal.stats.metrics import (
    METRICS,
    GradedKnees,
    balanced_accuracy,
    calibration_curve,
    expected_half_width,
    find_metric,
    warn_of_few_knees,
)

OAI_VAL = (328, 153, 212, 106, 27)


def certain(predicted: list[int], kl: list[int], p: float = 0.8) -> GradedKnees:
    probs = np.full((len(predicted), 5), (1 - p) / 4)
    probs[range(len(predicted)), predicted] = p
    return GradedKnees(np.log(probs), np.array(kl))


def test_balanced_accuracy_is_the_mean_recall_over_the_grades_present() -> None:
    # Grade 2 is predicted but absent: it must not count as a recall of 0.
    confusion = np.array([[8, 0, 2], [1, 1, 2], [0, 0, 0]])
    assert balanced_accuracy(confusion) == pytest.approx((0.8 + 0.25) / 2)
    assert math.isnan(balanced_accuracy(np.zeros((5, 5), np.int64)))


def test_every_metric_in_closed_form() -> None:
    knees = certain([0, 0, 2, 4], [0, 1, 2, 2])
    assert knees.confusion.tolist() == [[1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 1, 0, 1], [0] * 5, [0] * 5]
    # Quadratic kappa by hand: observed and expected squared differences.
    observed, true, predicted = 0 + 1 + 0 + 4, [0, 1, 2, 2], [0, 0, 2, 4]
    expected = sum((t - p) ** 2 for t in true for p in predicted) / 4
    by_hand = {
        "balanced_accuracy": (1 + 0 + 0.5) / 3, "quadratic_kappa": 1 - observed / expected, "mae": 3 / 4,
        "ece": 0.8 - 0.5, "nll": -(2 * math.log(0.8) + 2 * math.log(0.05)) / 4,
        "recall_0": 1.0, "recall_1": 0.0, "recall_2": 0.5, "recall_3": math.nan, "recall_4": math.nan,
    }  # fmt: skip
    found = {name: metric.compute(knees) for name, metric in METRICS.items()}
    assert found == pytest.approx(by_hand, nan_ok=True), "a new metric needs its value by hand"


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_perfect_grades(kl: list[int]) -> None:
    knees = certain(kl, kl, 0.999)
    assert METRICS["balanced_accuracy"].compute(knees) == 1.0
    assert METRICS["mae"].compute(knees) == 0.0
    kappa = METRICS["quadratic_kappa"].compute(knees)
    assert kappa == 1.0 if len(set(kl)) > 1 else math.isnan(kappa)


def test_they_agree_with_torchmetrics() -> None:
    classification = pytest.importorskip("torchmetrics.functional.classification")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    for _ in range(20):
        log_probs, kl = np.log(rng.dirichlet(np.ones(5), 300)), rng.integers(0, 5, 300)
        knees, probs, true = GradedKnees(log_probs, kl), torch.tensor(np.exp(log_probs)), torch.tensor(kl)
        options = {"num_classes": 5}
        theirs = {
            "balanced_accuracy": classification.multiclass_accuracy(probs, true, average="macro", **options),
            "quadratic_kappa": classification.multiclass_cohen_kappa(probs, true, weights="quadratic", **options),
            "ece": classification.multiclass_calibration_error(probs, true, n_bins=15, norm="l1", **options),
        }
        for name, value in theirs.items():
            assert METRICS[name].compute(knees) == pytest.approx(float(value), abs=1e-6), name


def test_a_column_is_described_wherever_it_comes_from() -> None:
    assert find_metric("test_mae") is find_metric("val/mae") is find_metric("mae") is METRICS["mae"]
    assert (METRICS["mae"].heading, METRICS["mae"].lower_is_better) == ("mean absolute error (grades)", True)
    assert METRICS["balanced_accuracy"].chance is not None and METRICS["balanced_accuracy"].chance(5) == 0.2
    assert find_metric("test_of_a_plugin").heading == "of_a_plugin"


def test_a_report_needs_no_torch_for_them() -> None:
    code = "import sys, kneeal.stats.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_calibration_curve_by_hand() -> None:
    probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.95, 0.05]])
    curve = calibration_curve(probs, np.array([0, 1, 1, 0]), n_bins=5)
    assert curve.count.tolist() == [1, 1, 2]
    assert curve.confidence.tolist() == pytest.approx([0.6, 0.8, 0.925])
    assert curve.accuracy.tolist() == [1.0, 0.0, 1.0]
    assert curve.ece == pytest.approx((0.4 + 0.8 + 2 * 0.075) / 4)


def test_a_calibrated_prediction_has_no_error_in_the_limit() -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(5), 50_000)
    kl = (probs.cumsum(1) < rng.random((50_000, 1))).sum(1)
    assert calibration_curve(probs, kl).ece < 0.01


def test_the_width_is_that_of_simulated_balanced_accuracies() -> None:
    rng = np.random.default_rng(0)
    recalls = np.stack([rng.binomial(n, 0.5, 20_000) / n for n in OAI_VAL])
    low, high = np.percentile(100 * recalls.mean(axis=0), [2.5, 97.5])
    assert expected_half_width(OAI_VAL) == pytest.approx((high - low) / 2, rel=0.03)


def test_one_grade_is_a_share_and_an_absent_grade_has_no_part() -> None:
    assert expected_half_width([100]) == pytest.approx(9.8)
    assert expected_half_width([100, 0]) == expected_half_width([100])
    assert expected_half_width([0, 0]) == 0.0


def test_what_is_warned_of() -> None:
    assert warn_of_few_knees(OAI_VAL) is None
    assert "±10 points" in (warn_of_few_knees((40, 20, 20, 20, 10)) or "")
    assert "only 9 with KL 4" in (warn_of_few_knees((5000, 5000, 5000, 5000, 9)) or "")
    assert "only 0 with KL 2" in (warn_of_few_knees((5000, 5000, 0, 5000, 5000)) or "")
