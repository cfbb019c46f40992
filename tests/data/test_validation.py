from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneeal.data.splits import Validation
from kneeal.errors import UserError

PATIENTS = {f"{p:03}_{side}": f"{p:03}" for p in range(200) for side in "LR"}
IDS = tuple(PATIENTS)


def grades(n: int, start: int = 0) -> dict[str, int]:
    return {i: k % 5 for k, i in enumerate(IDS[start : start + n])}


def test_free_grades_leave_the_labels_alone() -> None:
    validation = Validation({"v": 3})
    assert validation.split(grades(10)) == (grades(10), {"v": 3})
    validation.check(1)


@given(n=st.integers(3, 400), start=st.integers(0, 50), share=st.sampled_from([0.1, 0.2, 0.5]), seed=st.integers(0, 5))
def test_a_share_is_set_aside_by_patient(n: int, start: int, share: float, seed: int) -> None:
    labeled = grades(n, start)
    train, val = Validation({}, share, PATIENTS, seed).split(labeled)
    assert train and val
    assert {**train, **val} == labeled
    assert list(train) == [i for i in labeled if i in train]
    assert {PATIENTS[i] for i in train}.isdisjoint(PATIENTS[i] for i in val)
    if len(labeled) > 300:
        assert len(val) / len(labeled) == pytest.approx(share, abs=0.1)


def test_patients_keep_their_side_when_labels_are_added() -> None:
    validation = Validation({}, 0.2, PATIENTS, seed=1)
    sides: dict[str, str] = {}
    for n in range(20, 400, 20):
        train, val = validation.split(grades(n))
        for name, part in (("train", train), ("val", val)):
            for knee in part:
                assert sides.setdefault(knee, name) == name


def test_a_budget_too_small_names_the_least_that_works() -> None:
    validation = Validation({}, 0.2, PATIENTS)
    validation.check(5)
    with pytest.raises(UserError, match=r"(?s)4 knees.*at least 5 knees.*active.n_init=5"):
        validation.check(4)
    with pytest.raises(UserError, match="of one patient"):
        validation.split(grades(2))
