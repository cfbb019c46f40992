from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from helpers.pools import pool
from hypothesis import given
from hypothesis import strategies as st

from kneeal.acquisition import Predictions, top_n
from kneeal.acquisition.strategy import seeded_order


@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.5]), max_size=30), st.integers(0, 30), st.integers(0, 5), st.booleans()
)
def test_top_n_gives_the_extreme_scores_in_order(values: list[float], n: int, seed: int, largest: bool) -> None:
    n = min(n, len(values))
    ids = [f"k{k}" for k in range(len(values))]
    chosen = top_n(ids, torch.tensor(values), n, seed=seed, largest=largest)
    assert len(set(chosen)) == n
    by_id = dict(zip(ids, values, strict=True))
    assert [by_id[i] for i in chosen] == sorted(values, reverse=largest)[:n]
    assert chosen == top_n(ids[::-1], torch.tensor(values[::-1]), n, seed=seed, largest=largest)


def test_equal_scores_are_drawn_uniformly_by_the_seed() -> None:
    ids = [f"900{k}_{side}" for k in range(10) for side in "LR"]
    firsts = Counter(top_n(ids, torch.zeros(20), 1, seed=seed)[0] for seed in range(4000))
    assert set(firsts) == set(ids)
    assert sum((n - 200) ** 2 / 200 for n in firsts.values()) < 43.8  # chi squared, 19 degrees of freedom, p = 0.001


def test_the_order_of_two_ids_does_not_depend_on_the_others() -> None:
    ids = [f"knee{k}" for k in range(50)]
    order = [ids[k] for k in seeded_order(ids, 7)]
    part = ids[::3]
    assert [part[k] for k in seeded_order(part, 7)] == [i for i in order if i in part]
    assert order != [ids[k] for k in seeded_order(ids, 8)]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        top_n(("a", "b"), torch.tensor([1.0, bad]), 1, seed=0)


def test_more_than_the_pool_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the 2 knees of the pool, but got n=3"):
        top_n(("a", "b"), torch.zeros(2), 3, seed=0)


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
