from __future__ import annotations

from collections import Counter

import pytest
from helpers.pools import pool
from hypothesis import given, settings
from hypothesis import strategies as st

from kneeal.acquisition.constraints import SharePerGroup, Subsample
from kneeal.errors import UserError

KNEES = pool(40)
SITE = {i: "ABCD"[k % 4] for k, i in enumerate(KNEES.ids)}


@settings(max_examples=60)
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40), st.data())
def test_shares_give_whole_numbers_that_add_up(groups: list[str], data: st.DataObject) -> None:
    by = {str(k): g for k, g in enumerate(groups)}
    n = data.draw(st.integers(0, len(groups)))
    quotas = SharePerGroup(by).quotas(list(by), n)
    available = Counter(groups)
    assert sum(quotas.values()) == n
    assert all(abs(quotas[g] - n * available[g] / len(groups)) < 1 for g in available)
    raw = {g: data.draw(st.floats(0.05, 1)) for g in available}
    shares = {g: w / sum(raw.values()) for g, w in raw.items()}
    quotas = SharePerGroup(by, shares=shares).quotas(list(by), n)
    assert sum(quotas.values()) == n
    assert all(0 <= quotas[g] <= available[g] for g in quotas)


def test_a_site_without_enough_knees_gives_all() -> None:
    by = {**{f"a{k}": "A" for k in range(2)}, **{f"b{k}": "B" for k in range(20)}, **{f"c{k}": "C" for k in range(20)}}
    assert SharePerGroup(by, shares={"A": 0.5, "B": 0.3, "C": 0.2}).quotas(list(by), 12) == {"A": 2, "B": 6, "C": 4}


@pytest.mark.parametrize("shares", [{"A": 0.5}, {"A": 1.0, "Z": 0.0}, {"A": 0.5, "Z": 0.5}, {"A": "half", "B": 0.5}])
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(UserError, match="share"):
        SharePerGroup(SITE, shares=shares)


def test_a_subsample_is_the_same_for_a_seed_whatever_the_order() -> None:
    part = Subsample(max_knees=7)
    first = part.restrict(KNEES.ids, 3, seed=5)
    assert len(first) == 7
    assert set(first) == set(part.restrict(KNEES.ids[::-1], 3, seed=5))
    assert set(first) != set(part.restrict(KNEES.ids, 3, seed=6))
    assert len(part.restrict(KNEES.ids, 20, seed=5)) == 20
