"""Grades, sides and splits as people write them: read, counted as missing, or refused, never guessed."""

from __future__ import annotations

import pytest

from kneeal.errors import UserError
from kneeal.prepare.notation import UnreadableError, grade_names, option_for_grades, read_grade, read_side, read_split


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("2", 2), ("2.0", 2), ("2,0", 2), ("02", 2), (" 2 ", 2), ("\uff12", 2), ("KL 2", 2), ("KL2", 2), ("KL-2", 2),
        ("kl_2", 2), ("KLG 3", 3), ("K-L 2", 2), ("K/L 2", 2), ("k2", 2), ("Kellgren 2", 2), ("KL=1", 1),
        ("Kellgren-Lawrence grade 2", 2), ("Kellgren & Lawrence 3", 3), ("grade 4", 4), ("Grade: 3", 3),
        ("GRADE IV", 4),
        ("G2", 2), ("stage 3", 3), ("Stadium II", 2), ("Grad 2", 2), ("II", 2), ("iv", 4), ("\u2161", 2), ("2°", 2),
        ("0 (normal)", 0), ("0 - normal", 0), ("2 mild", 2), ("0=normal", 0), ("2: mild", 2), ("2: KL grade 2", 2),
        ("K.L. 2", 2), ("stade 3", 3), ("Grau II", 2), ("2 - mild to moderate", 2), ("1 (mild)", 1), ("III: mäßig", 3),
        ("Grad II nach Kellgren", 2), ("2: 2", 2), ("2_Minimal", 2), ("0: keine Arthrose", 0), ("2 (II)", 2),
        ("Gr. 2", 2), ("gr 3", 3), ("Gr.II", 2), ("(2)", 2), ("two", 2), ("KL two", 2), ("Zero", 0), ("0Normal", 0),
        ("4Severe", 4), ("Moderate3", 3), ("Normal 0", 0), ("3 (severe)", 3), ("Gonarthrose Grad 2", 2),
    ],
)  # fmt: skip
def test_a_grade_is_read_however_it_is_written(text: str, grade: int) -> None:
    assert read_grade(text) == grade


@pytest.mark.parametrize(
    "text",
    ["", " ", "x", "X", "n/a", "NA", "nan", "-", ".", "?", "TKR", "tka", "TEP", "8", "8.0", "9", "1.9",
     ".: Missing Form", "8: Other", "9 = missing", "1,9", "missing", "not gradable", "\u2013", "#N/A",
     "n.d.", "Not done", "Prothese", "Endoprothese", "-9", "99", "99: missing", "(TKR)"],
)  # fmt: skip
def test_what_says_that_there_is_no_grade_is_missing(text: str) -> None:
    assert read_grade(text) is None


@pytest.mark.parametrize(
    "text",
    ["5", "-1", "-2", "98", "999", "0.5", "2.5", "2+", "2-3", "2/4", "1/2", "2 or 3", "2 or III", "I-II", "IIa", "V",
     "normal", "KL", "grade", "3?", "21", "2 3", "none", "2 R", "2 left", "2 (links)", "2 or three", "2 bis drei",
     "2: left 3", "2:3", "2: possible 3", "i: 2", "III (2)", "I don't know", "2 not sure", "2 unclear", "1 x", "1 n/a",
     "2 TKR", "4 (TKR)", "0 = missing", "0 - severe", "4 (normal)", "2-Jan", "3-Apr", "2 months", "3 mm", "8 mm",
     ".2", "1 of two", "two of three", "fourth", "(2", "(none)", "five",
     "1 (normal)", "2 (doubtful)", "3 (mild)", "4 (moderate)", "0 (doubtful)", "1Normal", "Doubtful 2", "links 2",
     "KL <2", "one knee", "2 plus", "2:mild/3:moderate", "2024-03-02 00:00:00"],
)  # fmt: skip
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(UnreadableError):
        read_grade(text)


def test_names_of_grades_are_given() -> None:
    names = grade_names("Normal=0, Doubtful = 1,definite, with JSN=2,Severe=4,not clear=x")
    assert names == {"normal": 0, "doubtful": 1, "definite, with jsn": 2, "severe": 4, "not clear": None}
    cells = ("Normal", " DOUBTFUL", "definite,  with JSN", "3", "TKR", "Not clear")
    assert [read_grade(text, names) for text in cells] == [0, 1, 2, 3, None, None]
    with pytest.raises(UnreadableError):
        read_grade("mild", names)
    for text in ("Normal", "Normal=5", "=1", "a=b", "Normal=5,Mild=2", "Mild=1,mild=2"):
        with pytest.raises(UserError, match="--grades"):
            grade_names(text)


def test_sides_are_read_in_many_languages_and_never_guessed() -> None:
    right = ("R", "right", "RT", "1", "1.0", "1: Right", "D", "DX", "rechts", "re", "droit", "Droite", "destra",
             "derecha", "direita", "right knee", "knee_R", "Right (R)", "\uff32", "Rx ginocchio dx", "RT knee AP",
             "joelho D", "høyre", "pravá", "右膝")  # fmt: skip
    left = ("L", "left", "2", "E", "SX", "G", "links", "li", "gauche", "sinistra", "izquierda", "esquerda", "L knee",
            "genou G", "2: Left", "Kniegelenk li.", "rodilla I", "venstre", "lewa")  # fmt: skip
    assert {read_side(text) for text in right} == {"R"} and {read_side(text) for text in left} == {"L"}
    assert {read_side(text) for text in ("", "-", "n/a", "unknown", "NULL")} == {""}
    for text in ("up", "both", "bilateral", "right/left", "3", "RL", "1: Left", "2: Right", "right?", "maybe left",
                 "not right", "opposite of left", "knee 1", "knee 2", "view 2", "XR KNEE 2 VIEWS", "R 2", "L'autre",
                 "d'accord", "I D", "none"):  # fmt: skip
        with pytest.raises(UnreadableError):
            read_side(text)


def test_splits_are_read() -> None:
    assert [read_split(text) for text in ("", "Train", "training", "VALID", "validation", "test")] == [
        "", "train", "train", "val", "val", "test",
    ]  # fmt: skip
    with pytest.raises(UnreadableError):
        read_split("fold 1")


def test_grades_of_a_scale_from_1_are_named_by_the_option_that_is_proposed() -> None:
    texts = ["1 (normal)", "2Doubtful", "mild_3", "4. Moderate", "5 severe"]
    named, option = option_for_grades(texts)
    assert named == texts
    names = grade_names(option.removeprefix('--grades "').removesuffix('"'))
    assert [read_grade(text, names) for text in texts] == [0, 1, 2, 3, 4]
    assert option_for_grades([*texts, "Minimal"]) == ([], "")
