"""The metrics of graded knees. To add a metric, add an entry to `METRICS`.

Notation: N knees, C grades.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kneeal.stats.calibration import calibration_curve

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


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


def describe(column: str) -> Metric:
    """The metric of a column such as `test_mae` or `val/mae`; an unknown one is described by its name alone."""
    name = column.removeprefix("test").removeprefix("val").lstrip("_/")
    return METRICS.get(name) or Metric(name, name, lambda knees: float("nan"))
