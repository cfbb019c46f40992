"""Mean and standard error over seeds, area under the budget curve, labels needed for a value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Summary:
    """Values of several seeds."""

    mean: float  #: Their mean.
    error: float | None  #: Standard error s / sqrt(n), s with n - 1; None for a single seed, which has no error.
    n: int  #: Number of seeds.
    missing: tuple[int, ...] = ()  #: Expected seeds without a value.


@dataclass(frozen=True)
class Curve:
    """The learning curve of one run."""

    n_labeled: NDArray[np.int64]  #: [R] label counts; a query of which no knee could be graded repeats the one before.
    values: NDArray[np.float64]  #: [R] the metric.

    def at(self, n: int) -> float | None:
        """The last value at exactly n labels; None where the run has no such round: nothing is interpolated."""
        found = np.flatnonzero(self.n_labeled == n)
        return float(self.values[found[-1]]) if len(found) else None


def summarize(values: Sequence[float]) -> Summary:
    """Mean and standard error of independent values, at least one."""
    array = np.asarray(values, dtype=np.float64)
    error = float(array.std(ddof=1) / np.sqrt(len(array))) if len(array) > 1 else None
    return Summary(float(array.mean()), error, len(array))


def summarize_at(curves: Mapping[int, Curve], n: int, seeds: Sequence[int] = ()) -> Summary | None:
    """The seeds' values at exactly n labels.

    Args:
        curves: By seed.
        n: Label count. Only rounds with exactly that many labels enter.
        seeds: All expected seeds; those without a value are named in `missing`.

    Returns:
        None where no seed has that label count.
    """
    values = {seed: value for seed, curve in curves.items() if (value := curve.at(n)) is not None}
    if not values:
        return None
    missing = tuple(sorted({*curves, *seeds} - set(values)))
    return replace(summarize(list(values.values())), missing=missing)


def area(curve: Curve, low: int, high: int) -> float | None:
    """Area under the budget curve from `low` to `high` labels, divided by that range: the mean height.

    Trapezoids between the rounds. In the metric's own unit.

    Returns:
        None unless the run has rounds at exactly `low` and `high` labels, `low` below `high`.
    """
    if curve.at(low) is None or curve.at(high) is None:
        return None
    inside = (curve.n_labeled >= low) & (curve.n_labeled <= high)
    n, v = curve.n_labeled[inside].astype(np.float64), curve.values[inside]
    return float(((v[1:] + v[:-1]) / 2 * np.diff(n)).sum() / (high - low))


def restricted_labels(curve: Curve, target: float, budget: int) -> tuple[float, bool]:
    """Labels at which a curve reaches a value, at most the budget: what a restricted mean averages.

    On straight lines between the rounds; a curve that begins above the value reaches it with its first label count.
    A run that does not reach the value counts with the whole budget, since leaving it out would favor strategies that
    often fail (Royston and Parmar, BMC Medical Research Methodology 2013, on survival times).

    Returns:
        The labels, and whether the value was reached within the budget.
    """
    reached = np.flatnonzero(curve.values >= target)
    if not len(reached):
        return float(budget), False
    k = int(reached[0])
    labels = float(curve.n_labeled[k])
    if k > 0:
        (n0, n1), (v0, v1) = curve.n_labeled[k - 1 : k + 1], curve.values[k - 1 : k + 1]
        labels = float(n0 + (target - v0) / (v1 - v0) * (n1 - n0))
    return (labels, True) if labels <= budget else (float(budget), False)
