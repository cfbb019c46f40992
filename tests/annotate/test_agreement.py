"""Weighted kappa against closed forms and against torchmetrics; the rule against its words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_cohen_kappa

from kneeal.annotate.agreement import compare
from kneeal.annotate.consensus import Consensus, reach_consensus
from kneeal.stats.metrics import weighted_kappa

GRADES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=60)


@given(GRADES)
@settings(max_examples=60)
def test_kappa_is_that_of_torchmetrics(pairs: list[tuple[int, int]]) -> None:
    first, second = torch.tensor(pairs).T
    for weights, power in (("linear", 1), ("quadratic", 2)):
        table = np.zeros((5, 5))
        np.add.at(table, (first.numpy(), second.numpy()), 1)
        expected = float(multiclass_cohen_kappa(second, first, 5, weights=weights))
        ours = float(weighted_kappa(table, power))
        assert ours == pytest.approx(expected, abs=1e-5) or (np.isnan(ours) and np.isnan(expected))


def test_kappa_in_closed_form() -> None:
    assert weighted_kappa(np.eye(5)) == 1
    assert weighted_kappa(np.ones((5, 5))) == pytest.approx(0)
    assert weighted_kappa(np.array([[0, 5], [5, 0]])) == pytest.approx(-1)
    assert np.isnan(weighted_kappa(np.diag([3, 0, 0, 0, 0])))
    # po = 1 - (1 * 1 + 1 * 4) / (10 * 4), by hand, of a table with one near and one far miss
    table = np.zeros((3, 3))
    table[0, 0], table[1, 1], table[2, 2], table[0, 1], table[0, 2] = 3, 3, 2, 1, 1
    observed = (1 + 4) / 10
    chance = (5 * 4 * 1 + 5 * 3 * 4 + 3 * 3 * 1 + 3 * 3 * 1 + 2 * 3 * 4 + 2 * 4 * 1) / 100
    assert weighted_kappa(table) == pytest.approx(1 - observed / chance)


@given(GRADES)
@settings(max_examples=30)
def test_kappa_does_not_depend_on_who_is_first(pairs: list[tuple[int, int]]) -> None:
    there, back = compare("a", "b", pairs), compare("b", "a", [(b, a) for a, b in pairs])
    assert there.exact == back.exact
    assert (there.quadratic is None) == (back.quadratic is None)
    if there.quadratic is not None:
        assert there.quadratic == pytest.approx(back.quadratic)


def test_unreadable_knees_are_counted_apart() -> None:
    result = compare("a", "b", [(0, 0), (4, 4), (2, None), (None, None), (1, 2)])
    assert (result.n, result.unreadable, result.exact) == (3, 2, pytest.approx(2 / 3))
    assert result.interval is not None and result.quadratic is not None
    assert result.interval[0] <= result.quadratic <= result.interval[1]
    assert compare("a", "b", [(None, 1)]).quadratic is None
    assert compare("a", "b", [(1, 1)]).quadratic is None


def test_the_interval_narrows_with_more_knees() -> None:
    pairs = [(k % 5, min(4, k % 5 + (k % 3 == 0))) for k in range(30)]
    few, many = compare("a", "b", pairs), compare("a", "b", pairs * 20)
    assert few.interval is not None and many.interval is not None
    assert many.interval[1] - many.interval[0] < 0.5 * (few.interval[1] - few.interval[0])


@pytest.mark.parametrize(
    ("readings", "wanted", "pending", "consensus"),
    [
        ([], 1, False, Consensus("open")),
        ([(1, 2)], 1, False, Consensus("settled", 2, "single")),
        ([(1, 2)], 2, False, Consensus("open")),
        ([(1, 2), (1, 2)], 2, False, Consensus("open")),  # two readings of one reader are not two readers
        ([(1, 2)], 1, True, Consensus("open")),
        ([(1, 2), (1, 2)], 1, False, Consensus("settled", 2, "single")),
        ([(1, 2), (1, 3)], 1, False, Consensus("disagreed")),
        ([(1, 2), (2, 2)], 2, False, Consensus("settled", 2, "agreed")),
        ([(1, 2), (2, 2), (3, 1)], 3, False, Consensus("disagreed")),  # nobody is outvoted
        ([(1, None)], 1, False, Consensus("settled", None, "single")),
        ([(1, None), (2, 0)], 2, False, Consensus("disagreed")),
    ],
)
def test_the_rule(readings: list[tuple[int, int | None]], wanted: int, pending: bool, consensus: Consensus) -> None:
    assert reach_consensus(readings, required=wanted, pending=pending) == consensus


def test_an_adjudicator_decides() -> None:
    split = [(1, 2), (2, 4)]
    assert reach_consensus(split, required=2, pending=False, adjudicated=[(3, 3)]) == Consensus(
        "settled", 3, "adjudicated"
    )
