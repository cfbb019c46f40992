from __future__ import annotations

import numpy as np
import pytest

from kneeal.stats.calibration import calibration_curve


def test_by_hand() -> None:
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


def test_no_knee_is_refused() -> None:
    with pytest.raises(ValueError, match="a grade for each"):
        calibration_curve(np.zeros((0, 5)), np.zeros(0, np.int64))
