"""Grades, sides and splits as people write them: read, counted as missing, or refused, never guessed."""

from __future__ import annotations

import pytest

from kneeal.errors import UserError
from kneeal.prepare.notation import UnreadableError, grade_names, read_grade, read_side, read_split


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("2", 2), ("2.0", 2), ("2,0", 2), ("02", 2), (" 2 ", 2), ("\uff12", 2), ("KL 2", 2), ("KL2", 2), ("KL-2", 2),
        ("kl_2", 2), ("KLG 3", 3), ("K-L 2", 2), ("K/L 2", 2), ("k2", 2), ("Kellgren 2", 2), ("KL=1", 1),
        ("Kellgren-Lawrence grade 2", 2), ("Kellgren & Lawrence 3", 3), ("grade 4", 4), ("Grade: 3", 3),
        ("GRADE IV", 4),
        ("G2", 2), ("stage 3", 3), ("Stadium II", 2), ("Grad 2", 2), ("II", 2), ("iv", 4), ("\u2161", 2), ("2°", 2),
        ("0 (normal)", 0), ("0 - normal", 0), ("2 mild", 2), ("0=normal", 0), ("2: mild", 2), ("2: KL grade 2", 2),
    ],
)  # fmt: skip
def test_a_grade_is_read_however_it_is_written(text: str, grade: int) -> None:
    assert read_grade(text) == grade


@pytest.mark.parametrize(
    "text",
    ["", " ", "x", "X", "n/a", "NA", "nan", "-", ".", "?", "TKR", "tka", "TEP", "8", "8.0", "9", "1.9",
     ".: Missing Form", "8: Other", "missing", "not gradable"],
)  # fmt: skip
def test_what_says_that_there_is_no_grade_is_missing(text: str) -> None:
    assert read_grade(text) is None


@pytest.mark.parametrize(
    "text",
    ["5", "-1", "99", "0.5", "2.5", "2+", "2-3", "2/4", "1/2", "2 or 3", "2 or III", "I-II", "IIa", "V", "two",
     "normal", "KL", "grade", "3?", "21", "2 3"],
)  # fmt: skip
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(UnreadableError):
        read_grade(text)


def test_names_of_grades_are_given() -> None:
    names = grade_names('Normal=0, Doubtful = 1,"Severe"=4'.replace('"', ""))
    assert names == {"normal": 0, "doubtful": 1, "severe": 4}
    assert [read_grade(text, names) for text in ("Normal", " DOUBTFUL", "3", "TKR")] == [0, 1, 3, None]
    with pytest.raises(UnreadableError):
        read_grade("mild", names)
    for text in ("Normal", "Normal=5", "=1", "a=b"):
        with pytest.raises(UserError, match="--grades"):
            grade_names(text)


def test_sides_are_read_in_many_languages_and_never_guessed() -> None:
    right = ("R", "right", "RT", "1", "1.0", "1: Right", "D", "DX", "rechts", "re", "droit", "Droite", "destra",
             "derecha", "direita", "right knee", "knee_R", "Right (R)", "\uff32")  # fmt: skip
    left = ("L", "left", "2", "E", "SX", "G", "links", "li", "gauche", "sinistra", "izquierda", "esquerda", "L knee")
    assert {read_side(text) for text in right} == {"R"} and {read_side(text) for text in left} == {"L"}
    assert {read_side(text) for text in ("", "-", "n/a", "unknown")} == {""}
    for text in ("up", "both", "bilateral", "right/left", "3", "RL"):
        with pytest.raises(UnreadableError):
            read_side(text)


def test_splits_are_read() -> None:
    assert [read_split(text) for text in ("", "Train", "training", "VALID", "validation", "test")] == [
        "", "train", "train", "val", "val", "test",
    ]  # fmt: skip
    with pytest.raises(UnreadableError):
        read_split("fold 1")
