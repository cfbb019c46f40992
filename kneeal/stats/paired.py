"""Paired comparison of two strategies on one test set: bootstrap by patient, permutation tests, Holm's correction.

Notation: S seeds (trained networks of a strategy), N test knees, P patients, C grades. A hit is a knee that is graded
right. Balanced accuracy is the mean over the grades present of hits / knees, so a difference of two strategies is a
sum over patients, which is what makes both methods below fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Swaps of patients that are in memory at once.
_SWAPS_AT_ONCE = 5000


@dataclass(frozen=True)
class TestSet:
    """The knees on which strategies are compared.

    Attributes:
        kl: [N] true grades.
        patients: [N] index of the patient in [0, P).
        support: [P, C] knees of each patient by grade, of the C grades present.
    """

    #: Tells pytest that this is no test.
    __test__ = False

    kl: NDArray[np.int64]
    patients: NDArray[np.int64]
    support: Array

    @classmethod
    def of(cls, kl: Sequence[int], patients: Sequence[str]) -> TestSet:
        """From grades and patient ids of the N knees.

        Raises:
            ValueError: The lengths differ or there is no knee.
        """
        if len(kl) != len(patients) or not len(kl):
            raise ValueError(f"there must be a patient for each knee, but got {len(kl)} and {len(patients)}.")
        grades, grade = np.unique(np.asarray(kl, dtype=np.int64), return_inverse=True)
        names, patient = np.unique(np.asarray(patients), return_inverse=True)
        ones, shape = np.ones(len(kl)), (len(names), len(grades))
        return cls(grade.astype(np.int64), patient.astype(np.int64), _by_patient(ones, patient, grade, shape))

    def hits(self, correct: NDArray[np.bool_]) -> Array:
        """[S, P, C] hits of each patient by grade, from [S, N] whether each knee is graded right."""
        shape = (self.support.shape[0], self.support.shape[1])
        return np.stack([_by_patient(row.astype(np.float64), self.patients, self.kl, shape) for row in correct])


@dataclass(frozen=True)
class Difference:
    """How much better A is than B, in balanced accuracy.

    Attributes:
        mean: A minus B, mean over the seeds.
        low: Lower end of the interval.
        high: Upper end.
    """

    mean: float
    low: float
    high: float


def balanced_accuracy(hits: Array, support: Array, weights: Array | None = None) -> Array:
    """Balanced accuracy from hits and knees by patient and grade.

    Args:
        hits: [S, P, C].
        support: [P, C].
        weights: [B, P] how often each patient counts; once each if None.

    Returns:
        [S], or [B, S] with weights. Grades without a knee do not count.
    """
    if weights is None:
        return np.asarray(balanced_accuracy(hits, support, np.ones((1, support.shape[0])))[0])
    n_seeds, n_patients, n_grades = hits.shape
    knees = weights @ support  # [B, C]
    right = (weights @ hits.transpose(1, 0, 2).reshape(n_patients, -1)).reshape(len(weights), n_seeds, n_grades)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = right / knees[:, None, :]
    return np.asarray(np.nanmean(recall, axis=2))


def clustered_bootstrap(
    a: Array, b: Array, support: Array, *, n_resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Difference:
    """Percentile interval of a difference, from resampled patients and resampled seeds.

    Patients are drawn with replacement and bring all their knees, so that two knees of one patient are not taken for
    two independent ones; seeds are drawn in pairs (Davison and Hinkley, 1997, section 3.8; Field and Welsh, JRSS B
    2007). With few seeds the interval is too narrow rather than too wide; `sign_flip_test` says what the seeds allow.

    Args:
        a: [S, P, C] hits of strategy A (`TestSet.hits`).
        b: [S, P, C] hits of strategy B, the same seeds in the same order.
        support: [P, C].
        n_resamples: Bootstrap samples.
        level: Of the interval, in (0, 1).
        seed: Of the resampling.
    """
    _check_pair(a, b)
    rng = np.random.default_rng(seed)
    n_seeds, n_patients = a.shape[:2]
    weights = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=n_resamples).astype(np.float64)
    drawn = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n_resamples) / n_seeds  # [B, S]
    by_seed = balanced_accuracy(a, support, weights) - balanced_accuracy(b, support, weights)
    low, high = np.quantile((by_seed * drawn).sum(axis=1), [(1 - level) / 2, (1 + level) / 2])
    mean = (balanced_accuracy(a, support) - balanced_accuracy(b, support)).mean()
    return Difference(float(mean), float(low), float(high))


def patient_permutation_test(a: Array, b: Array, support: Array, *, n_permutations: int = 4999, seed: int = 0) -> float:
    """p-value of: on patients like these, the trained networks of A and B grade equally well (two-sided).

    Under that hypothesis the two strategies' answers for a patient can be swapped. A patient's knees, and all seeds,
    are swapped together. It speaks of these networks; whether others trained in the same way would differ is for
    `sign_flip_test`.

    Args:
        a: [S, P, C] hits of strategy A.
        b: [S, P, C] hits of strategy B, the same seeds in the same order.
        support: [P, C].
        n_permutations: Random swaps; the smallest p-value is 1 / (n_permutations + 1).
        seed: Of the swaps.
    """
    return patient_permutation_tests([(a, b)], support, n_permutations=n_permutations, seed=seed)[0]


def patient_permutation_tests(
    pairs: Sequence[tuple[Array, Array]], support: Array, *, n_permutations: int = 4999, seed: int = 0
) -> list[float]:
    """`patient_permutation_test` of many pairs with the same swaps, which are drawn once for all.

    Args:
        pairs: [S, P, C] hits of A and of B; S may differ from pair to pair.
        support: [P, C].
        n_permutations: Random swaps.
        seed: Of the swaps.
    """
    if not pairs:
        return []
    for a, b in pairs:
        _check_pair(a, b)
    knees = support.sum(axis=0)
    d = np.stack([((a - b).mean(axis=0) / knees).mean(axis=1) for a, b in pairs], axis=1)  # [P, pairs]
    observed = np.array([abs(column.sum()) - _tolerance(column) for column in d.T])
    rng, extreme, left = np.random.default_rng(seed), np.zeros(len(pairs), np.int64), n_permutations
    while left:
        n = min(left, _SWAPS_AT_ONCE)
        signs = rng.choice(np.array([-1.0, 1.0]), size=(n, len(d)))
        extreme += (np.abs(signs @ d) >= observed).sum(axis=0)
        left -= n
    return [(1 + int(k)) / (1 + n_permutations) for k in extreme]


def sign_flip_test(differences: Sequence[float], *, n_permutations: int = 4999, seed: int = 0) -> float:
    """p-value of: strategies A and B give equally good networks (two-sided), from one difference a seed.

    Under that hypothesis each difference is as likely with the other sign. Exact up to 12 seeds, by random flips
    beyond. With S seeds no p-value is below 2^(1 - S): five seeds give 0.0625 at best.

    Args:
        differences: [S] A minus B, paired by seed.
        n_permutations: Random flips, beyond 12 seeds.
        seed: Of the flips.
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 1 or not len(d):
        raise ValueError(f"there must be one difference a seed, but got shape {d.shape}.")
    if len(d) > 12:
        signs = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=(n_permutations, len(d)))
        return _p_value(d, signs)
    bits = (np.arange(2 ** len(d))[:, None] >> np.arange(len(d))) & 1
    flipped = np.abs((1.0 - 2.0 * bits) @ d)
    return float((flipped >= abs(d.sum()) - _tolerance(d)).mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p-values that hold for the whole family (Holm, 1979).

    Args:
        p_values: Of the m tests.

    Returns:
        Adjusted p-values in the same order, at most 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not len(p):
        return []
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]


def _p_value(d: Array, signs: Array) -> float:
    """Share of sign patterns, the observed one included, whose sum is at least as far from 0."""
    extreme = int((np.abs(signs @ d) >= abs(d.sum()) - _tolerance(d)).sum())
    return (1 + extreme) / (1 + len(signs))


def _tolerance(d: Array) -> float:
    """Sums of the same numbers in another order differ by rounding; ties must count as ties."""
    return float(1e-12 * max(1e-300, np.abs(d).sum()))


def _by_patient(values: Array, patient: NDArray[np.int64], grade: NDArray[np.int64], shape: tuple[int, int]) -> Array:
    """[P, C] sums of [N] values."""
    flat = np.bincount(patient * shape[1] + grade, weights=values, minlength=shape[0] * shape[1])
    return np.asarray(flat, dtype=np.float64).reshape(shape)


def _check_pair(a: Array, b: Array) -> None:
    if a.shape != b.shape:
        raise ValueError(f"both strategies must have the same seeds and patients, but got {a.shape} and {b.shape}.")
