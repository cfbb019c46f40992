"""Calibration curves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CalibrationCurve:
    """Confidence against accuracy in bins of equal width; bins without a knee are left out."""

    confidence: NDArray[np.float64]  #: [K] mean probability of the predicted grade.
    accuracy: NDArray[np.float64]  #: [K] share of right predictions.
    count: NDArray[np.int64]  #: [K] knees.

    @property
    def ece(self) -> float:
        """Expected calibration error: mean gap weighted by knees (Guo et al., ICML 2017)."""
        return float((np.abs(self.confidence - self.accuracy) * self.count).sum() / self.count.sum())


def calibration_curve(probs: NDArray[np.float64], kl: NDArray[np.int64], n_bins: int = 15) -> CalibrationCurve:
    """The curve of one set of predictions.

    Args:
        probs: [N, C] predicted probabilities.
        kl: [N] true grades.
        n_bins: Bins (k / n_bins, (k + 1) / n_bins].

    Raises:
        ValueError: The lengths differ or there is no knee.
    """
    if len(probs) != len(kl) or not len(kl):
        raise ValueError(f"there must be a grade for each prediction, but got {len(kl)} and {len(probs)}.")
    confidence = probs.max(axis=1)
    right = probs.argmax(axis=1) == kl
    place = np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    count = np.bincount(place, minlength=n_bins)
    filled = count > 0
    sums = [np.bincount(place, weights=w, minlength=n_bins)[filled] for w in (confidence, right.astype(np.float64))]
    return CalibrationCurve(sums[0] / count[filled], sums[1] / count[filled], count[filled])
