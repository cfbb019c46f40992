from __future__ import annotations

from collections import Counter

import pytest
from helpers.pools import pool
from hypothesis import given, settings
from hypothesis import strategies as st

from kneeal import acquisition
from kneeal.acquisition import Predictions, Strategy
from kneeal.acquisition.constraints import Constrained, Exclude, MaxPerGroup, SharePerGroup, Subsample
from kneeal.acquisition.testing import StrategyContract
from kneeal.errors import UserError

KNEES = pool(40)
PATIENT = {i: str(k // 4) for k, i in enumerate(KNEES.ids)}
SITE = {i: "ABCD"[k % 4] for k, i in enumerate(KNEES.ids)}
NAMES = [n for n in acquisition.available() if type(acquisition.get(n)).__module__.startswith("kneeal.")]


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


class TestUnconstrained(StrategyContract):
    def make(self) -> Strategy:
        return Constrained(acquisition.get("badge"), [])


class TestConstrained(StrategyContract):
    """Of a strategy whose limits do not bite in the pools of the contract."""

    def make(self) -> Strategy:
        return Constrained(acquisition.get("mi_mcd"), [MaxPerGroup({}, max_knees=1), Subsample(max_knees=1000)])


@pytest.mark.parametrize("name", NAMES)
def test_all_limits_at_once_around_every_strategy(name: str) -> None:
    limits = [
        MaxPerGroup(PATIENT, max_knees=2),
        SharePerGroup(SITE, shares={"A": 0.5, "B": 0.25, "C": 0.25}),
        Exclude(dict.fromkeys(KNEES.ids[:3], "bad"), values=["bad"]),
    ]
    chosen = Constrained(acquisition.get(name), limits).select(KNEES, 8, labeled=pool(3, prefix="known"), seed=1)
    assert len(set(chosen)) == 8
    assert max(Counter(PATIENT[i] for i in chosen).values()) <= 2
    assert Counter(SITE[i] for i in chosen) == {"A": 4, "B": 2, "C": 2}
    assert not set(chosen) & set(KNEES.ids[:3])


@pytest.mark.parametrize("name", NAMES)
def test_limits_that_do_not_bite_change_nothing(name: str) -> None:
    strategy = acquisition.get(name)
    plain = strategy.select(KNEES, 6, seed=3)
    assert Constrained(strategy, [MaxPerGroup(PATIENT, max_knees=40), Exclude({}, values=["x"])]).select(
        KNEES, 6, seed=3
    ) == (plain)


def test_the_highest_scores_that_the_limit_admits() -> None:
    score = acquisition.get("bald").score(KNEES)
    expected: list[str] = []
    for position in score.argsort(descending=True).tolist():
        knee = KNEES.ids[position]
        if PATIENT[knee] not in {PATIENT[i] for i in expected}:
            expected.append(knee)
    chosen = Constrained(acquisition.get("bald"), [MaxPerGroup(PATIENT, max_knees=1)]).select(KNEES, 7, seed=0)
    assert list(chosen) == expected[:7]


def test_what_cannot_be_kept_is_said() -> None:
    one = Constrained(acquisition.get("bald"), [MaxPerGroup(PATIENT, max_knees=1)])
    with pytest.raises(UserError, match="only 10 of 11 knees can be queried"):
        one.select(KNEES, 11, seed=0)
    out = Constrained(acquisition.get("random"), [Exclude(SITE, values=["A"])])
    out.check(KNEES.ids, 30)
    with pytest.raises(UserError, match="leave 30 of 40"):
        out.check(KNEES.ids, 31)


def test_knees_taken_so_far_count_as_labeled() -> None:
    """Of two clumps, with one patient each, core-set must not come back to the first one."""
    seen: list[int] = []

    class Spy(type(acquisition.get("coreset"))):  # type: ignore[misc]
        def select(self, predictions: Predictions, n: int, *, labeled: Predictions | None = None, seed: int) -> object:
            seen.append(0 if labeled is None else len(labeled))
            return super().select(predictions, n, labeled=labeled, seed=seed)

    Constrained(Spy(), [MaxPerGroup(PATIENT, max_knees=1)]).select(KNEES, 9, labeled=pool(2, prefix="known"), seed=0)
    assert seen[0] == 2
    assert len(seen) > 1
    assert all(later > 2 for later in seen[1:])
