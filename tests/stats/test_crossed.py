from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kneeal.stats.crossed import Accuracies, Estimate, TestSet, holm, spread_ratio


def knees(n_patients: int, n_grades: int = 5, seed: int = 0) -> tuple[TestSet, np.random.Generator]:
    rng = np.random.default_rng(seed)
    kl = rng.integers(0, n_grades, 2 * n_patients)
    kl[:n_grades] = np.arange(n_grades)
    return TestSet.of(kl.tolist(), [f"{k // 2:04d}" for k in range(2 * n_patients)]), rng


def measured(values: list[float], by_patient: list[float] | None = None) -> Accuracies:
    """Seeds that differ, and patients whom every seed grades alike."""
    influence = np.zeros((len(values), 4)) if by_patient is None else np.tile(by_patient, (len(values), 1))
    return Accuracies(np.array(values), influence)


def test_balanced_accuracy_is_the_mean_recall_over_the_grades_present() -> None:
    test_set = TestSet.of([0, 0, 0, 3], ["a", "a", "b", "b"])
    found = test_set.balanced_accuracy(np.array([[True, False, True, False], [True, True, True, True]]))
    assert found.values.tolist() == [pytest.approx(1 / 3), 1.0]


def test_it_is_the_metric_of_the_package() -> None:
    from kneeal.stats.metrics import METRICS, GradedKnees

    rng = np.random.default_rng(0)
    graded = GradedKnees(np.log(rng.dirichlet(np.ones(5), 200)), rng.integers(0, 4, 200))
    test_set = TestSet.of(graded.kl.tolist(), [str(k // 2) for k in range(200)])
    found = test_set.balanced_accuracy((graded.predicted == graded.kl)[None])
    assert found.values[0] == pytest.approx(METRICS["balanced_accuracy"].compute(graded))


def test_a_share_counts_knees_whatever_their_grade() -> None:
    test_set, rng = knees(20)
    holds = rng.random((2, 40)) < 0.3
    assert test_set.share(holds).values == pytest.approx(holds.mean(axis=1))


def test_the_influence_is_what_resampled_patients_do() -> None:
    """The sum of squared influences is the variance under resampling of patients."""
    test_set, rng = knees(150)
    correct = rng.random((1, 300)) < 0.6
    variance = (test_set.balanced_accuracy(correct).influence ** 2).sum()
    drawn = []
    for _ in range(3000):
        rows = np.concatenate([[2 * p, 2 * p + 1] for p in rng.integers(0, 150, 150)])
        again = TestSet.of(test_set.grade[rows].tolist(), [str(k // 2) for k in range(300)])
        drawn.append(again.balanced_accuracy(correct[:, rows]).values[0])
    assert math.sqrt(variance) == pytest.approx(np.std(drawn), rel=0.06)


def test_two_knees_of_a_patient_are_not_two_patients() -> None:
    """If both knees of a patient always agree, the variance is that of half as many knees."""
    correct = np.repeat(np.random.default_rng(0).random((1, 150)) < 0.5, 2, axis=1)
    together = TestSet.of([0] * 300, [str(k // 2) for k in range(300)])
    apart = TestSet.of([0] * 300, [str(k) for k in range(300)])
    both, single = (float((t.balanced_accuracy(correct).influence ** 2).sum()) for t in (together, apart))
    assert both / single == pytest.approx(2, rel=0.01)


def test_where_seeds_alone_vary_it_is_the_t_test() -> None:
    values = [0.01, 0.03, 0.02, 0.05]
    found, theirs = Estimate.of(measured(values)), stats.ttest_1samp(values, 0)
    assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-6)
    assert found.interval() == pytest.approx(tuple(theirs.confidence_interval()))


def test_where_patients_alone_vary_it_is_the_normal_test() -> None:
    """Training without any randomness: equal seeds are no evidence, patients are all there is."""
    found = Estimate.of(measured([0.02, 0.02, 0.02], [0.006, -0.006, 0.003, -0.003]))
    error = math.sqrt(2 * 0.006**2 + 2 * 0.003**2)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(0.02 / error), rel=1e-6)
    assert found.interval() == pytest.approx((0.02 - 1.959964 * error, 0.02 + 1.959964 * error))


def test_what_a_seed_does_with_a_patient_counts_once() -> None:
    """Independent hits of every seed: the variance of the mean is that of S seeds and not of twice as many."""
    test_set, rng = knees(400)
    estimates = [Estimate.of(test_set.balanced_accuracy(rng.random((4, 800)) < 0.5)) for _ in range(300)]
    total = np.mean([e.seeds + e.patients for e in estimates])
    assert total == pytest.approx(np.var([e.mean for e in estimates]), rel=0.25)
    assert np.mean([e.patients for e in estimates]) < 0.1 * total


def test_equal_networks_differ_in_nothing() -> None:
    test_set, rng = knees(40)
    one = test_set.balanced_accuracy(rng.random((3, 80)) < 0.5)
    found = Estimate.of(one - one)
    assert (found.mean, found.p_value, found.interval()) == (0.0, 1.0, (0.0, 0.0))


def test_one_seed_cannot_tell() -> None:
    test_set, rng = knees(400)
    one = test_set.balanced_accuracy(rng.random((1, 800)) < 0.5)
    other = test_set.balanced_accuracy(rng.random((1, 800)) < 0.8)
    found = Estimate.of(one - other)
    assert found.p_value == 1.0 and found.seeds_needed(0.05) is None
    low, high = found.interval()
    assert low < found.mean < high < 0, "the interval of these two networks on other patients"


def test_unpaired_strategies_are_refused() -> None:
    with pytest.raises(ValueError, match="same seeds"):
        measured([0.1, 0.2]) - measured([0.1, 0.2, 0.3])


def test_seeds_needed_are_those_of_the_power_of_the_t_test() -> None:
    spread, effect, level = 0.02, 0.03, 0.05
    estimate = Estimate(effect, spread**2 / 3, 0.0, 3)

    def power(n: int) -> float:
        degrees, away = n - 1, effect / spread * math.sqrt(n)
        critical = stats.t.ppf(1 - level / 2, degrees)
        return float(stats.nct.sf(critical, degrees, away) + stats.nct.cdf(-critical, degrees, away))

    needed = estimate.seeds_needed(level)
    assert needed is not None and abs(needed - next(n for n in range(2, 100) if power(n) >= 0.8)) <= 1
    assert Estimate(0.0, 1e-4, 0.0, 3).seeds_needed(level) is None
    # More seeds do not help where the patients differ: the test set is too small.
    assert Estimate(0.02, 1e-6, 0.02**2, 3).seeds_needed(level) is None
    fewer, more = (estimate.seeds_needed(p) for p in (0.05, 0.05 / 36))
    assert fewer is not None and more is not None and fewer < more


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=12))
def test_holm_never_lowers_and_lies_below_bonferroni(p: list[float]) -> None:
    adjusted = holm(p)
    for raw, value in zip(p, adjusted, strict=True):
        assert raw <= value <= min(1.0, raw * len(p)) + 1e-12
    assert [adjusted[k] for k in np.argsort(p, kind="stable")] == sorted(adjusted)


def test_the_interval_of_a_ratio_of_spreads_is_pitman_and_morgans() -> None:
    """Theirs is a test of no correlation between sum and difference; the interval ends where its p-value is 5 %."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 8))
    found = spread_ratio(x.tolist(), y.tolist())
    assert found is not None and found.ratio == pytest.approx(x.std(ddof=1) / y.std(ddof=1))
    for end in (found.low, found.high):
        assert stats.pearsonr(x / end + y, x / end - y).pvalue == pytest.approx(0.05)
    assert spread_ratio([1.0, 2.0], [1.0, 3.0]) is None
    assert spread_ratio([1.0, 1.0, 1.0], [1.0, 3.0, 2.0]) is None


@pytest.mark.parametrize("n_seeds", [3, 6, 9])
def test_spreads_are_tested_by_exchanging_deviations_within_pairs(n_seeds: int) -> None:
    x, y = np.random.default_rng(n_seeds).normal(size=(2, n_seeds)) * [[3.0], [1.0]]

    def difference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(a.mean(axis=axis) - b.mean(axis=axis))

    deviations = tuple(np.abs(v - np.median(v)) for v in (x, y))
    expected = stats.permutation_test(deviations, difference, permutation_type="samples", n_resamples=np.inf)
    found = spread_ratio(x.tolist(), y.tolist())
    assert found is not None and found.p_value == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("n_seeds", [10, 20])
def test_trainings_that_collapse_are_no_difference_in_spread(n_seeds: int) -> None:
    """One in eight lies far below the others, with both strategies."""
    rng = np.random.default_rng(n_seeds)

    def seeds() -> list[float]:
        return (rng.normal(size=n_seeds) - 6 * (rng.random(n_seeds) < 1 / 8)).tolist()  # type: ignore[no-any-return]

    p_values = [found.p_value for _ in range(400) if (found := spread_ratio(seeds(), seeds()))]
    assert np.mean(np.array(p_values) < 0.05) < 0.08
    assert np.mean(np.array(p_values) < 0.01) < 0.025


def test_seeds_needed_for_a_difference_in_spread_find_it() -> None:
    found = spread_ratio([4.0, -4.0, 3.0, -3.5, 0.1, 2.0], [1.0, -1.0, 1.2, -0.8, 0.1, 0.9])
    assert found is not None and found.p_value > 0.01
    needed = found.seeds_needed(0.01)
    assert needed is not None and needed >= 8, "seven seeds have no p-value below 1 %"
