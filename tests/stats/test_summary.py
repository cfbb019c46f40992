from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneeal.stats.summary import Curve, area, restricted_labels, summarize, summarize_at


def test_standard_error_is_s_over_root_n_with_n_minus_1() -> None:
    assert summarize([1.0, 2.0, 3.0, 4.0]).error == pytest.approx(math.sqrt(5 / 3) / 2)
    assert summarize([1.0, 2.0, 3.0, 4.0]).mean == 2.5


def test_one_seed_has_no_error() -> None:
    assert (summarize([0.4]).mean, summarize([0.4]).error, summarize([0.4]).n) == (0.4, None, 1)


def line(n_labeled: Sequence[int], values: Sequence[float]) -> Curve:
    return Curve(np.array(n_labeled), np.array(values))


@given(
    st.lists(st.floats(-10, 10, allow_subnormal=False), min_size=2, max_size=9), st.floats(-5, 5, allow_subnormal=False)
)
def test_a_shift_moves_the_mean_and_not_the_error(values: list[float], shift: float) -> None:
    a, b = summarize(values), summarize([v + shift for v in values])
    assert b.mean == pytest.approx(a.mean + shift, abs=1e-9)
    assert b.error == pytest.approx(a.error, abs=1e-9)


CURVES = {0: line([50, 100], [0.2, 0.4]), 1: line([50, 100], [0.3, 0.6]), 2: line([50], [0.1])}


def test_a_missing_seed_is_said() -> None:
    summary = summarize_at(CURVES, 100, seeds=[0, 1, 2, 3])
    assert summary is not None
    assert (summary.mean, summary.n, summary.missing) == (0.5, 2, (2, 3))


def test_other_label_counts_are_not_aligned() -> None:
    curves = {0: line([50, 100], [0.2, 0.4]), 1: line([60, 110], [0.3, 0.6])}
    at_100 = summarize_at(curves, 100)
    assert at_100 is not None and (at_100.n, at_100.missing, at_100.error) == (1, (1,), None)
    assert summarize_at(curves, 75) is None


def test_area_of_a_straight_line_is_its_middle() -> None:
    straight = line([50, 100, 200, 250], [0.25, 0.5, 1.0, 1.25])
    assert area(straight, 50, 250) == pytest.approx(0.75)
    assert area(straight, 100, 200) == pytest.approx(0.75)
    assert area(straight, 50, 300) is None, "no extrapolation"
    assert area(straight, 75, 250) is None, "no interpolation"


@given(st.lists(st.floats(0, 1, allow_subnormal=False), min_size=2, max_size=16))
def test_area_lies_between_the_extremes(values: list[float]) -> None:
    curve = line(range(0, 50 * len(values), 50), values)
    found = area(curve, 0, 50 * (len(values) - 1))
    assert found is not None and min(values) - 1e-12 <= found <= max(values) + 1e-12


def test_labels_to_reach_a_value() -> None:
    curve = line([50, 100, 150], [0.2, 0.4, 0.3])
    assert restricted_labels(curve, 0.3, 150) == (pytest.approx(75), True)
    assert restricted_labels(curve, 0.4, 150) == (pytest.approx(100), True)
    assert restricted_labels(curve, 0.1, 150) == (50.0, True)


def test_a_run_that_never_gets_there_counts_with_the_budget() -> None:
    curve = line([50, 100, 150], [0.2, 0.4, 0.3])
    assert restricted_labels(curve, 0.9, 150) == (150.0, False)
    assert restricted_labels(curve, 0.4, 80) == (80.0, False), "reached beyond the budget is not reached"


def test_a_query_without_a_gradable_knee_repeats_a_label_count() -> None:
    curve = line([50, 100, 100, 150], [0.2, 0.3, 0.4, 0.5])
    assert curve.at(100) == 0.4, "the later fit"
    assert area(curve, 50, 150) == pytest.approx((0.25 + 0.45) / 2)
    assert restricted_labels(curve, 0.35, 150) == (100.0, True)


def test_a_value_that_is_not_defined_stays_so() -> None:
    assert np.isnan(line([50], [np.nan]).values[0])
