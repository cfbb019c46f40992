from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneeal.stats.paired import (
    TestSet,
    balanced_accuracy,
    clustered_bootstrap,
    holm,
    patient_permutation_test,
    patient_permutation_tests,
    sign_flip_test,
)


def knees(n_patients: int, n_grades: int = 5, seed: int = 0) -> tuple[TestSet, np.random.Generator]:
    rng = np.random.default_rng(seed)
    kl = rng.integers(0, n_grades, 2 * n_patients)
    kl[:n_grades] = np.arange(n_grades)
    return TestSet.of(kl.tolist(), [str(k // 2) for k in range(2 * n_patients)]), rng


def test_balanced_accuracy_is_the_mean_recall_over_the_grades_present() -> None:
    test_set = TestSet.of([0, 0, 0, 3], ["a", "a", "b", "b"])
    hits = test_set.hits(np.array([[True, False, True, False], [True, True, True, True]]))
    assert balanced_accuracy(hits, test_set.support).tolist() == [pytest.approx(1 / 3), 1.0]
    # Patient a counts twice and b not at all: grade 3 is absent then.
    assert balanced_accuracy(hits, test_set.support, np.array([[2.0, 0.0]])).tolist() == [[0.5, 1.0]]


def test_it_is_the_metric_of_the_package() -> None:
    torch = pytest.importorskip("torch")
    from kneeal.training.metrics import evaluate

    rng = np.random.default_rng(0)
    log_probs, kl = np.log(rng.dirichlet(np.ones(5), 200)), rng.integers(0, 4, 200)
    metrics, _ = evaluate(torch.tensor(log_probs), torch.tensor(kl))
    test_set = TestSet.of(kl.tolist(), [str(k // 2) for k in range(200)])
    hits = test_set.hits((log_probs.argmax(1) == kl)[None])
    assert balanced_accuracy(hits, test_set.support)[0] == pytest.approx(metrics["balanced_accuracy"])


def test_equal_predictions_differ_in_nothing() -> None:
    test_set, rng = knees(40)
    hits = test_set.hits(rng.random((3, 80)) < 0.5)
    difference = clustered_bootstrap(hits, hits, test_set.support, n_resamples=50)
    assert (difference.mean, difference.low, difference.high) == (0, 0, 0)
    assert patient_permutation_test(hits, hits, test_set.support, n_permutations=99) == 1.0


def test_many_pairs_at_once_are_the_same_tests() -> None:
    test_set, rng = knees(40)
    pairs = [(test_set.hits(rng.random((n, 80)) < 0.5), test_set.hits(rng.random((n, 80)) < 0.45)) for n in (1, 3, 3)]
    found = patient_permutation_tests(pairs, test_set.support, n_permutations=12_000)
    assert found == [patient_permutation_test(a, b, test_set.support, n_permutations=12_000) for a, b in pairs]
    # More swaps than are in memory at once, by the definition.
    a, b = pairs[1]
    d = ((a - b).mean(axis=0) / test_set.support.sum(axis=0)).mean(axis=1)
    signs = np.random.default_rng(1).choice([-1.0, 1.0], size=(12_000, len(d)))
    assert found[1] == pytest.approx((abs(signs @ d) >= abs(d.sum()) - 1e-12).mean(), abs=0.02)
    assert patient_permutation_tests([], test_set.support) == []


def test_a_clear_difference_is_found() -> None:
    test_set, rng = knees(200)
    a, b = (test_set.hits(rng.random((5, 400)) < p) for p in (0.7, 0.5))
    difference = clustered_bootstrap(a, b, test_set.support, n_resamples=500)
    assert 0.1 < difference.low < difference.mean < difference.high < 0.3
    assert patient_permutation_test(a, b, test_set.support, n_permutations=999) == pytest.approx(1 / 1000)
    other = clustered_bootstrap(b, a, test_set.support, n_resamples=500)
    assert other.mean == pytest.approx(-difference.mean)


def test_two_knees_of_a_patient_are_not_two_patients() -> None:
    """If both knees of a patient always agree, the interval is that of half as many knees."""
    rng = np.random.default_rng(0)
    n = 150
    a, b = (np.repeat(rng.random((1, n)) < 0.5, 2, axis=1) for _ in range(2))
    together = TestSet.of([0] * (2 * n), [str(k // 2) for k in range(2 * n)])
    apart = TestSet.of([0] * (2 * n), [str(k) for k in range(2 * n)])
    wide, narrow = (clustered_bootstrap(t.hits(a), t.hits(b), t.support, n_resamples=4000) for t in (together, apart))
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(math.sqrt(2), rel=0.08)


def test_the_interval_has_the_width_of_the_closed_form() -> None:
    """One knee a patient, one grade, one seed: the standard error of a mean of differences."""
    rng = np.random.default_rng(1)
    n = 400
    a, b = (rng.random((1, n)) < p for p in (0.6, 0.5))
    test_set = TestSet.of([0] * n, [str(k) for k in range(n)])
    found = clustered_bootstrap(test_set.hits(a), test_set.hits(b), test_set.support, n_resamples=4000)
    d = a[0].astype(float) - b[0].astype(float)
    assert found.high - found.low == pytest.approx(2 * 1.96 * d.std() / math.sqrt(n), rel=0.08)


def within(rate: float, expected: float, n: int) -> bool:
    return abs(rate - expected) < 4 * math.sqrt(expected * (1 - expected) / n)


def test_the_patient_permutation_test_rejects_equal_networks_in_5_percent() -> None:
    n_simulations, rejected = 2000, 0
    test_set, rng = knees(40, 3)
    for simulation in range(n_simulations):
        # A patient's difficulty is shared by both strategies and both knees.
        ease = np.repeat(rng.random(40), 2)
        a, b = (test_set.hits(rng.random((2, 80)) < ease) for _ in range(2))
        rejected += patient_permutation_test(a, b, test_set.support, n_permutations=199, seed=simulation) <= 0.05
    assert within(rejected / n_simulations, 0.05, n_simulations)


def test_the_sign_flip_test_rejects_equal_strategies_in_5_percent() -> None:
    """Networks of a strategy differ by their training as well: only the seeds can say whether strategies do."""
    n_simulations, n_seeds = 2000, 8
    rng = np.random.default_rng(5)
    differences = rng.normal(size=(n_simulations, n_seeds)) - rng.normal(size=(n_simulations, n_seeds))
    rejected = sum(sign_flip_test(row.tolist()) <= 0.05 for row in differences)
    # 256 sign patterns, of which 12 give p <= 0.05.
    assert within(rejected / n_simulations, 12 / 256, n_simulations)


def test_sign_flips_in_closed_form() -> None:
    assert sign_flip_test([1.0, 2.0, 3.0]) == 2 / 8
    assert sign_flip_test([1.0] * 5) == 2 / 32
    assert sign_flip_test([1.0, -1.0]) == 1.0
    # The smallest of three has the other sign: 1+1-0.5 is reached by 2 of 8 larger and 2 equal patterns.
    assert sign_flip_test([1.0, 1.0, -0.5]) == 4 / 8
    assert sign_flip_test([1.0] * 20, n_permutations=99) == pytest.approx(1 / 100)
    with pytest.raises(ValueError, match="one difference a seed"):
        sign_flip_test([])


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_and_lies_below_bonferroni(p: list[float]) -> None:
    adjusted = holm(p)
    for raw, value in zip(p, adjusted, strict=True):
        assert raw <= value <= min(1.0, raw * len(p)) + 1e-12
    assert [adjusted[k] for k in np.argsort(p, kind="stable")] == sorted(adjusted)


def test_unpaired_strategies_are_refused() -> None:
    test_set, rng = knees(10)
    a, b = test_set.hits(rng.random((3, 20)) < 0.5), test_set.hits(rng.random((2, 20)) < 0.5)
    with pytest.raises(ValueError, match="same seeds"):
        patient_permutation_test(a, b, test_set.support)
    with pytest.raises(ValueError, match="patient for each knee"):
        TestSet.of([1], [])
