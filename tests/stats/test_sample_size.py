"""How wide the interval of a test set's balanced accuracy is, before anything is predicted."""

from __future__ import annotations

import numpy as np
import pytest

from kneeal.stats.sample_size import expected_half_width, warn_of_few_knees

OAI_VAL = (328, 153, 212, 106, 27)


def test_the_width_is_that_of_simulated_balanced_accuracies() -> None:
    rng = np.random.default_rng(0)
    recalls = np.stack([rng.binomial(n, 0.5, 20_000) / n for n in OAI_VAL])
    low, high = np.percentile(100 * recalls.mean(axis=0), [2.5, 97.5])
    assert expected_half_width(OAI_VAL) == pytest.approx((high - low) / 2, rel=0.03)


def test_one_grade_is_a_share_and_an_absent_grade_has_no_part() -> None:
    assert expected_half_width([100]) == pytest.approx(9.8)
    assert expected_half_width([100, 0]) == expected_half_width([100])
    assert expected_half_width([0, 0]) == 0.0


def test_what_is_warned_of() -> None:
    assert warn_of_few_knees(OAI_VAL) is None
    assert "±10 points" in (warn_of_few_knees((40, 20, 20, 20, 10)) or "")
    assert "only 9 with KL 4" in (warn_of_few_knees((5000, 5000, 5000, 5000, 9)) or "")
    assert "only 0 with KL 2" in (warn_of_few_knees((5000, 5000, 0, 5000, 5000)) or "")
