"""Means over training seeds and test patients, which are crossed: every seed's network grades every patient.

Notation: S seeds (trained networks of a strategy), N test knees, P patients, C grades present.

A strategy is judged by its mean over all seeds and all patients that could have been drawn, so both are random: with
V_s the variance of the mean that comes from the seeds and V_p the part that more seeds would not remove, since every
seed grades the same patients, the mean has variance V_s + V_p (a crossed random-effects model: Searle, Casella and
McCulloch, Variance Components, 1992, chapter 4). V_s rests on S - 1 degrees of freedom, V_p on many.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

Array = NDArray[np.float64]

#: Logarithms of chi-squared values over which a variance that is estimated from few seeds is integrated out.
_LOG_CHI2 = np.linspace(-40.0, 8.0, 800)
#: Probability below the upper end of a 95 % interval.
_UPPER = 0.975
#: Chance of finding a true difference for which seeds are counted.
_POWER = 0.8
#: Studies are not advised to run more seeds than this.
MAX_SEEDS = 100
#: Seeds up to which a sign test tries all signs.
_ALL_SIGNS = 12


@dataclass(frozen=True)
class Accuracies:
    """A quantity on one test set, measured with each seed; so are their differences and means."""

    values: Array  #: [S].
    #: [S, P] what each patient adds to the value's deviation from its expectation (the influence function of Hampel,
    #: JASA 1974, over P).
    influence: Array

    def __sub__(self, other: Accuracies) -> Accuracies:
        """The difference, paired by seed and patient."""
        if self.influence.shape != other.influence.shape:
            raise ValueError(
                "both strategies must have the same seeds and patients, "
                f"but got {self.influence.shape} and {other.influence.shape}."
            )
        return Accuracies(self.values - other.values, self.influence - other.influence)

    @classmethod
    def mean(cls, several: Sequence[Accuracies]) -> Accuracies:
        """The mean of several quantities, for example over label counts, seed by seed."""
        return cls(np.mean([a.values for a in several], axis=0), np.mean([a.influence for a in several], axis=0))

    @classmethod
    def stack(cls, several: Sequence[Accuracies]) -> Accuracies:
        """The seeds of several, one after the other."""
        return cls(np.concatenate([a.values for a in several]), np.concatenate([a.influence for a in several]))


@dataclass(frozen=True)
class TestSet:
    """The knees on which strategies are compared."""

    #: Tells pytest that this is not a test.
    __test__ = False

    grade: NDArray[np.int64]  #: [N] index of the true grade in [0, C).
    patient: NDArray[np.int64]  #: [N] index of the patient in [0, P).
    support: Array  #: [P, C] knees of each patient by grade.

    @classmethod
    def of(cls, kl: Sequence[int], patients: Sequence[str]) -> TestSet:
        """From grades and patient ids of the N knees, at least one."""
        grades, grade = np.unique(np.asarray(kl, dtype=np.int64), return_inverse=True)
        names, patient = np.unique(np.asarray(patients), return_inverse=True)
        support = np.zeros((len(names), len(grades)))
        np.add.at(support, (patient, grade), 1.0)
        return cls(grade.astype(np.int64), patient.astype(np.int64), support)

    def balanced_accuracy(self, correct: NDArray[np.bool_]) -> Accuracies:
        """Balanced accuracy of each seed.

        Args:
            correct: [S, N] whether each seed's network grades each knee right.
        """
        n_patients, n_grades = self.support.shape
        cell = self.patient * n_grades + self.grade
        hits = np.stack([np.bincount(cell, row, n_patients * n_grades) for row in correct.astype(np.float64)])
        hits = hits.reshape(-1, n_patients, n_grades)
        knees = self.support.sum(axis=0)
        recall = hits.sum(axis=1) / knees
        # A mean of recalls is a mean of ratios. With m patients of a grade, m / (m - 1) makes its variance unbiased.
        with_grade = (self.support > 0).sum(axis=0)
        scale = np.sqrt(with_grade / np.maximum(1, with_grade - 1)) / (knees * n_grades)
        # A single patient with a grade shows only that the recall is 0 or 1.
        center = np.where(with_grade > 1, recall, 0.5)
        influence = (hits - self.support * center[:, None, :]) @ scale
        return Accuracies(recall.mean(axis=1), influence)

    def share(self, of: NDArray[np.bool_]) -> Accuracies:
        """Share of the knees, of all grades together, for which [S, N] holds."""
        everything = TestSet(np.zeros_like(self.grade), self.patient, self.support.sum(axis=1, keepdims=True))
        return everything.balanced_accuracy(of)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and patients with its two variances."""

    mean: float  #: Over the seeds.
    seeds: float  #: V_s, the variance of the mean that comes from the seeds; NaN for a single seed.
    patients: float  #: V_p, the variance of the mean that more seeds would not remove.
    n_seeds: int  #: S.

    @classmethod
    def of(cls, measured: Accuracies) -> Estimate:
        """From one value per seed and its influence by patient."""
        n_seeds, mean = len(measured.values), measured.influence.mean(axis=0)
        patients = float((mean**2).sum())
        if n_seeds == 1:
            return cls(float(measured.values[0]), math.nan, patients, 1)
        # What a seed's network happens to do with a patient is in the variance over the seeds already.
        residual = float(((measured.influence - mean) ** 2).sum()) / (n_seeds * (n_seeds - 1))
        seeds = float(measured.values.var(ddof=1)) / n_seeds
        return cls(float(measured.values.mean()), seeds, max(0.0, patients - residual), n_seeds)

    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the mean.

        Of Student's t with (S - 1) / r degrees of freedom, r the share of V_s in the variance: S - 1 where the seeds
        alone vary, many where the patients alone do. For a single seed it describes that network on other patients.
        """
        total = self.patients if self.n_seeds == 1 else self.seeds + self.patients
        quantile = ndtri(_UPPER)
        if self.n_seeds > 1 and self.seeds > 0:
            quantile = stdtrit((self.n_seeds - 1) * total / self.seeds, _UPPER)
        half = float(quantile) * math.sqrt(total)
        return self.mean - half, self.mean + half

    @property
    def p_value(self) -> float:
        """Two-sided p-value of a mean of 0; 1 for a single seed.

        The chance that |T √V_s + Z √V_p| is at least |mean|, with T of Student's t with S - 1 degrees of freedom and Z
        normal (Behrens and Fisher's distribution with one variance known). In the far tails, where a correction for
        many comparisons looks, it keeps its level where approximate degrees of freedom exceed theirs many times over.
        """
        return 1.0 if self.n_seeds == 1 else _p_value(self.mean, self.seeds, self.patients, self.n_seeds - 1)

    def seeds_needed(self, level: float) -> int | None:
        """The number of seeds that would find a true difference as large as this mean, in 4 of 5 studies.

        Args:
            level: Of the test, corrected for the family.

        Returns:
            None for a single seed, or if `MAX_SEEDS` are not enough.
        """
        if self.n_seeds == 1:
            return None

        def found(n_seeds: int) -> bool:
            seeds = self.seeds * self.n_seeds / n_seeds
            reached = abs(self.mean) - float(ndtri(_POWER)) * math.sqrt(seeds + self.patients)
            return reached > 0 and _p_value(reached, seeds, self.patients, n_seeds - 1) <= level

        n_seeds = bisect.bisect_left(range(2, MAX_SEEDS + 1), True, key=found) + 2
        return n_seeds if n_seeds <= MAX_SEEDS else None


def _p_value(mean: float, seeds: float, patients: float, degrees: int) -> float:
    if mean == 0 or seeds + patients == 0:
        # The same networks on the same patients differ in nothing, or always by the same: patients tell, not rounding.
        return 1.0
    density = np.exp(degrees * _LOG_CHI2 / 2 - np.exp(_LOG_CHI2) / 2)
    variance = seeds * degrees / np.exp(_LOG_CHI2) + patients
    return float((2 * ndtr(-abs(mean) / np.sqrt(variance)) * density).sum() / density.sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p-values that hold for the whole family (Holm, 1979).

    Args:
        p_values: Of the m tests.

    Returns:
        Adjusted p-values in the same order, at most 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))), 1.0)
    return [float(value) for value in adjusted]


@dataclass(frozen=True)
class SpreadRatio:
    """Standard deviation of one set of values over that of another, paired by seed."""

    ratio: float  #: The first over the second.
    low: float  #: Lower end of the interval, for normal values.
    high: float  #: Upper end.
    p_value: float  #: Two-sided, of equal spreads, whatever the distribution of the values.
    n_seeds: int  #: S.
    effect: float  #: Mean over standard deviation of what `p_value` rests on.

    def seeds_needed(self, level: float) -> int | None:
        """The number of seeds that would find a true ratio as large as this; None if `MAX_SEEDS` are not enough."""
        if self.effect == 0:
            return None
        by_power = 2 + (float(ndtri(1 - level / 2) + ndtri(_POWER)) / self.effect) ** 2
        needed = math.ceil(max(by_power, 1 - math.log2(level)))  # the smallest p-value of S seeds is 2^(1 - S)
        return needed if needed <= MAX_SEEDS else None


def spread_ratio(a: Sequence[float], b: Sequence[float]) -> SpreadRatio | None:
    """Compare two standard deviations.

    The p-value comes from exchanging the deviations from the median (Brown and Forsythe, JASA 1974) within pairs, since
    one training in ten that collapses would look like a difference to a test for normal values. The 95 % interval is
    that of Pitman and Morgan (both Biometrika 1939), for normal pairs.

    Args:
        a: [S] values, paired by seed.
        b: [S] values.

    Returns:
        None for fewer than three pairs, or if either does not vary.
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    degrees = len(x) - 2
    if degrees < 1 or x.std() == 0 or y.std() == 0:
        return None
    variances = float(x.var() / y.var())
    free = max(0.0, 1 - float(np.corrcoef(x, y)[0, 1]) ** 2)
    k = 1 + 2 * free * float(stdtrit(degrees, _UPPER)) ** 2 / degrees
    ends = [math.sqrt(variances * (k + sign * math.sqrt(k * k - 1))) for sign in (-1, 1)]
    gaps = np.abs(x - np.median(x)) - np.abs(y - np.median(y))
    effect = float(gaps.mean() / gaps.std(ddof=1)) if gaps.std() else 0.0
    # A sign test: the share of all choices of signs for which the sum of the gaps is at least as far from 0.
    sums = np.abs(_signs(len(gaps)) @ gaps)
    p_value = float((sums >= sums[0] * (1 - 1e-12)).mean())
    return SpreadRatio(math.sqrt(variances), ends[0], ends[1], p_value, len(x), effect)


@functools.cache
def _signs(n: int) -> Array:
    """All signs of n numbers up to symmetry, or random ones where those are too many; the first row is all 1."""
    if n <= _ALL_SIGNS:
        bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1
        return np.asarray(1 - 2 * bits, dtype=np.float64)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (2**_ALL_SIGNS, n))
    signs[0] = 1.0
    return signs
