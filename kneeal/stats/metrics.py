"""The metrics of graded knees, and how precise they can be. To add a metric, add an entry to `METRICS`.

Notation: N knees, C grades.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

#: Half the width, in points, of the widest interval that gets no warning.
MAX_HALF_WIDTH = 5.0
#: Knees of a grade below which its recall is not near a normal distribution (n p >= 5 with p = 1/2).
MIN_KNEES = 10


@dataclass(frozen=True)
class GradedKnees:
    """Predictions with the true grades."""

    log_probs: Floats  #: [N, C] predictive log-probabilities in nats.
    kl: Counts  #: [N] true grades.

    @cached_property
    def predicted(self) -> Counts:
        """[N] most probable grade."""
        return np.asarray(self.log_probs.argmax(axis=1), dtype=np.int64)

    @cached_property
    def confusion(self) -> Counts:
        """[C, C] counts, row = true grade, column = predicted grade."""
        n_grades = self.log_probs.shape[1]
        flat = np.bincount(self.kl * n_grades + self.predicted, minlength=n_grades**2)
        return np.asarray(flat, dtype=np.int64).reshape(n_grades, n_grades)


@dataclass(frozen=True)
class Metric:
    """How a metric is computed and displayed."""

    name: str  #: In files: `test_<name>` and `val_<name>`.
    title: str  #: In words, without the unit.
    compute: Callable[[GradedKnees], float]  #: Its value; NaN where the knees do not define it.
    unit: str = ""  #: Of the value as it is shown; empty for a pure number.
    short: str = ""  #: Heading of a narrow table column.
    percent: bool = False  #: Whether a value in [0, 1] is shown in percent.
    lower_is_better: bool = False  #: Whether a smaller value is better.
    #: Value of guessing among C grades, as a function of C; None where it depends on the knees.
    chance: Callable[[int], float] | None = None

    @property
    def heading(self) -> str:
        """Title with the unit, as at an axis."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def factor(self) -> int:
        """What a value is multiplied by to be shown."""
        return 100 if self.percent else 1

    @property
    def digits(self) -> int:
        """Digits after the point of a shown value."""
        return 2 if self.percent else 3


@dataclass(frozen=True)
class CalibrationCurve:
    """Confidence against accuracy in bins of equal width; bins without a knee are left out."""

    confidence: Floats  #: [K] mean probability of the predicted grade.
    accuracy: Floats  #: [K] share of right predictions.
    count: Counts  #: [K] knees.

    @property
    def ece(self) -> float:
        """Expected calibration error: mean gap weighted by knees (Guo et al., ICML 2017)."""
        return float((np.abs(self.confidence - self.accuracy) * self.count).sum() / self.count.sum())


def calibration_curve(probs: Floats, kl: Counts, n_bins: int = 15) -> CalibrationCurve:
    """The curve of one set of predictions.

    Args:
        probs: [N, C] predicted probabilities.
        kl: [N] true grades.
        n_bins: Bins (k / n_bins, (k + 1) / n_bins].
    """
    confidence = probs.max(axis=1)
    right = probs.argmax(axis=1) == kl
    bins = np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    count = np.bincount(bins, minlength=n_bins)
    filled = count > 0
    sums = [np.bincount(bins, weights=w, minlength=n_bins)[filled] for w in (confidence, right)]
    return CalibrationCurve(sums[0] / count[filled], sums[1] / count[filled], count[filled])


def balanced_accuracy(confusion: Counts) -> float:
    """Mean recall over the grades that are present.

    A grade without a single knee has no recall and does not count. (torchmetrics' macro accuracy counts a grade that
    is predicted but absent as a recall of 0.)

    Args:
        confusion: [C, C] counts, row = true grade, column = predicted grade.

    Returns:
        In [0, 1]; NaN without any knee.
    """
    support = confusion.sum(axis=1)
    present = support > 0
    return float((confusion.diagonal()[present] / support[present]).mean()) if present.any() else float("nan")


def weighted_kappa(table: NDArray[np.number[Any]], power: int = 2) -> NDArray[np.float64]:
    """Cohen's weighted kappa (Cohen, Psychological Bulletin 1968) of tables of counts.

    Args:
        table: [..., C, C], first reading by second.
        power: 1 for linear, 2 for quadratic weights.

    Returns:
        [...] in [-1, 1]; NaN where chance leaves nothing to disagree about.
    """
    counts = np.asarray(table, np.float64)
    grade = np.arange(counts.shape[-1])
    weights = np.abs(grade[:, None] - grade) ** power
    by_chance = counts.sum(axis=-1)[..., :, None] * counts.sum(axis=-2)[..., None, :]
    expected = (weights * by_chance).sum(axis=(-2, -1))
    observed = (weights * counts).sum(axis=(-2, -1)) * counts.sum(axis=(-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(expected > 0, 1.0 - observed / expected, np.nan), np.float64)


def _recall(grade: int) -> Metric:
    def compute(knees: GradedKnees) -> float:
        row = knees.confusion[grade] if grade < len(knees.confusion) else np.zeros(1, np.int64)
        return float(row[grade] / row.sum()) if row.sum() else float("nan")

    return Metric(f"recall_{grade}", f"recall of grade {grade}", compute, "%", percent=True)


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "balanced_accuracy", "balanced accuracy", lambda knees: balanced_accuracy(knees.confusion), "%", "BA %",
            percent=True, chance=lambda n_grades: 1 / n_grades,
        ),
        Metric(
            "quadratic_kappa", "quadratic weighted kappa", lambda knees: float(weighted_kappa(knees.confusion)),
            short="kappa", chance=lambda n_grades: 0.0,
        ),
        Metric(
            "mae", "mean absolute error", lambda knees: float(np.abs(knees.predicted - knees.kl).mean()), "grades",
            "MAE", lower_is_better=True,
        ),
        Metric(
            "ece", "expected calibration error",
            lambda knees: calibration_curve(np.exp(knees.log_probs), knees.kl).ece, short="ECE", lower_is_better=True,
        ),
        Metric(
            "nll", "negative log-likelihood",
            lambda knees: -float(knees.log_probs[np.arange(len(knees.kl)), knees.kl].mean()), "nats", "NLL",
            lower_is_better=True,
        ),
        *map(_recall, range(5)),
    )
}  # fmt: skip


def find_metric(column: str) -> Metric:
    """The metric of a column such as `test_mae` or `val/mae`; an unknown one is described by its name alone."""
    name = column.removeprefix("test").removeprefix("val").lstrip("_/")
    return METRICS.get(name) or Metric(name, name, lambda knees: float("nan"))


def expected_half_width(counts: Sequence[int]) -> float:
    """Half the width of the 95 % interval of balanced accuracy to expect of a test set.

    Balanced accuracy is the mean of C recalls, each a share of n_g knees, so its variance is the sum of
    p_g (1 - p_g) / n_g over C squared; p_g is taken as 1/2, where that is largest. Knees count as independent.

    Args:
        counts: [C] test knees of each grade; a grade without one has no part in balanced accuracy.

    Returns:
        Points of 100; 0 for no knees.
    """
    present = [n for n in counts if n]
    return 100 * 1.96 * 0.5 * math.sqrt(sum(1 / n for n in present)) / max(1, len(present))


def warn_of_few_knees(counts: Sequence[int]) -> str | None:
    """A warning if a test set is too small for its balanced accuracy to mean much, else None.

    It is too small where the expected 95 % interval is wider than 5 points to either side, or a grade has fewer than
    10 knees.

    Args:
        counts: [C] test knees of each grade.
    """
    width = expected_half_width(counts)
    few = [f"{n} with KL {grade}" for grade, n in enumerate(counts) if n < MIN_KNEES]
    if width <= MAX_HALF_WIDTH and not few:
        return None
    found = f"; only {', '.join(few)}" if few else ""
    return f"small test set: the 95 % interval of balanced accuracy may reach ±{width:.0f} points{found}"
