from __future__ import annotations

import math

import pytest
import torch
from helpers.pools import pool
from hypothesis import given
from hypothesis import strategies as st

from kneeal.acquisition import Predictions, top_n


@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.5]), max_size=30), st.integers(0, 30), st.integers(0, 5), st.booleans()
)
def test_top_n_gives_the_extreme_scores_in_order(values: list[float], n: int, seed: int, largest: bool) -> None:
    n = min(n, len(values))
    chosen = top_n(torch.tensor(values), n, seed=seed, largest=largest).tolist()
    assert len(set(chosen)) == n
    assert [values[k] for k in chosen] == sorted(values, reverse=largest)[:n]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        top_n(torch.tensor([1.0, bad]), 1, seed=0)


def test_more_than_the_pool_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the 2 knees of the pool, but got n=3"):
        top_n(torch.zeros(2), 3, seed=0)


def test_predictions_check_what_they_are_given() -> None:
    log_probs = torch.full((2, 1, 2), 0.5).log()
    with pytest.raises(ValueError, match="distinct"):
        Predictions(("a", "a"), log_probs)
    with pytest.raises(ValueError, match="one row per id"):
        Predictions(("a",), log_probs)
    with pytest.raises(ValueError, match=r"\[N, F\]"):
        Predictions(("a", "b"), log_probs, torch.zeros(3, 2))
    with pytest.raises(ValueError, match="normalized"):
        Predictions(("a", "b"), log_probs.exp())


def test_taking_keeps_rows_together() -> None:
    log_probs = torch.randn(4, 2, 3).log_softmax(-1)
    taken = Predictions(tuple("abcd"), log_probs, torch.arange(8.0).reshape(4, 2)).take([2, 0])
    assert taken.ids == ("c", "a")
    assert torch.equal(taken.require_log_probs(), log_probs[[2, 0]])
    assert taken.features is not None
    assert taken.features.tolist() == [[4.0, 5.0], [0.0, 1.0]]


def test_joining_keeps_what_both_have() -> None:
    a, b = pool(3), pool(2, prefix="b")
    both = a.joined(b)
    assert both.ids == (*a.ids, *b.ids)
    assert both.features is not None
    assert both.features.shape == (5, 4)
    assert Predictions(a.ids, None, a.features).joined(b).log_probs is None
