from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneeal.errors import UserError
from kneeal.pool import PoolState

IDS = tuple(f"{patient}_{side}" for patient in range(9_000_001, 9_000_011) for side in "LR")


def test_advancing_moves_the_answered_knees_and_keeps_their_order() -> None:
    state = PoolState({}, IDS).advance({IDS[3]: 2, IDS[1]: 0}).advance({IDS[0]: 4}, pseudo=IDS[10:12])
    assert list(state.labeled.items()) == [(IDS[3], 2), (IDS[1], 0), (IDS[0], 4)]
    assert state.unlabeled == (IDS[2], *IDS[4:])
    assert state.pseudo == IDS[10:12]


def test_the_first_answers_end_no_round_since_nothing_was_trained_before_them() -> None:
    first = PoolState({}, IDS).advance({IDS[0]: 1})
    assert first.round == 0
    assert first.advance({IDS[1]: 1}).round == 1


def test_a_state_cannot_be_changed() -> None:
    labels = {IDS[0]: 1}
    state = PoolState(labels, IDS[1:])
    labels[IDS[1]] = 3
    assert dict(state.labeled) == {IDS[0]: 1}
    with pytest.raises(TypeError):
        state.labeled[IDS[1]] = 3  # type: ignore[index]
    with pytest.raises(AttributeError):
        state.round = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("answers", "pseudo", "message"),
    [
        ({"nobody_L": 1}, (), "not in the pool: 'nobody_L'"),
        ({IDS[0]: 1}, (), f"labeled already: '{IDS[0]}'"),
        ({}, (), "no answers"),
        ({IDS[1]: 1}, (IDS[1],), "not unlabeled"),
        ({IDS[1]: 1}, (IDS[2], IDS[2]), "named twice"),
    ],
)
def test_advance_refuses_what_does_not_fit(answers: dict[str, int], pseudo: tuple[str, ...], message: str) -> None:
    state = PoolState({IDS[0]: 2}, IDS[1:])
    with pytest.raises(UserError, match=message):
        state.advance(answers, pseudo)


@pytest.mark.parametrize(
    ("labeled", "unlabeled"), [({IDS[0]: 1}, IDS), ({}, (IDS[0], IDS[0]))], ids=["in both", "twice in one"]
)
def test_a_state_that_contradicts_itself_is_refused(labeled: dict[str, int], unlabeled: tuple[str, ...]) -> None:
    with pytest.raises(UserError):
        PoolState(labeled, unlabeled)


def test_damaged_json_is_refused() -> None:
    with pytest.raises(UserError, match=r"state\.json"):
        PoolState.from_dict({"round": 0, "labeled": {}, "unlabeled": []})


@given(st.data())
def test_every_knee_is_always_in_exactly_one_place_and_json_brings_the_state_back(data: st.DataObject) -> None:
    state = PoolState({}, IDS)
    for _ in range(data.draw(st.integers(0, 4))):
        asked = data.draw(st.lists(st.sampled_from(state.unlabeled), min_size=1, max_size=4, unique=True))
        rest = [i for i in state.unlabeled if i not in asked]
        pseudo = data.draw(st.lists(st.sampled_from(rest), max_size=3, unique=True)) if rest else []
        state = state.advance({i: data.draw(st.integers(0, 4)) for i in asked}, pseudo)
        assert sorted([*state.labeled, *state.unlabeled]) == sorted(IDS)
    assert PoolState.from_dict(json.loads(json.dumps(state.to_dict()))) == state
