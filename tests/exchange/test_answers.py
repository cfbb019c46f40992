"""Answers from files: every form is read, every mistake is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kneeal.errors import UserError
from kneeal.exchange.answers import read_answers


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def task(knee: str, *choices: str, cancelled: bool = False) -> dict[str, object]:
    result = [
        {"from_name": "kl", "to_name": "image", "type": "choices", "value": {"choices": [choice]}} for choice in choices
    ]
    return {
        "id": 1, "data": {"knee_id": knee, "image": "x"},
        "annotations": [{"result": result, "was_cancelled": cancelled}],
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "knee_id,kl\na_L,3\nb_R,\n\nc_L,0\n",
        "\ufeffknee_id,picture,kl,unreadable\na_L,p.png,3,\nb_R,p.png,,no\nc_L,p.png,0.0,\n",
        "kl;knee_id\r\n3;a_L\r\n;b_R\r\n0;c_L\r\n",
        "knee_id,kl\na_L,3\na_L,3\nb_R,\nc_L,0\n",
    ],
)
def test_sheets_of_many_hands(tmp_path: Path, text: str) -> None:
    assert read_answers(write(tmp_path / "a.csv", text)) == {"a_L": 3, "c_L": 0}


def test_an_unreadable_knee(tmp_path: Path) -> None:
    sheet = "knee_id,kl,unreadable\na_L,,implant or hardware\nb_R,2,\n"
    assert read_answers(write(tmp_path / "a.csv", sheet)) == {"a_L": None, "b_R": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("knee_id,kl\na_L,5\n", "grade '5' for knee a_L in line 2"),
        ("knee_id,kl\na_L,-1\n", "grade '-1'"),
        ("knee_id,kl\na_L,2.5\n", "grade '2.5'"),
        ("knee_id,kl\na_L,two\n", "grade 'two'"),
        ("knee_id,kl\na_L,1\nb_L,0\na_L,2\n", "two answers for knee a_L, grade 1 in line 2 and grade 2 in line 4"),
        ("knee_id,kl,unreadable\na_L,1,\na_L,,other\n", "grade 1 in line 2 and unreadable in line 3"),
        ("knee_id,kl,unreadable\na_L,1,other\n", "calls knee a_L unreadable (other) and gives it grade 1"),
        ("knee_id,kl\na_L,1\nb_L", "ends in the middle of line 3"),
        ("knee_id,kl\na_L,1\nb_L,", "ends in the middle of line 3"),
        ("knee_id,picture,kl\na_L,x,1\nb_L,x\n", "line 3 has 2 cells"),
        ("knee_id,grade\na_L,1\n", "without the column kl"),
        ("", "without the column knee_id, kl"),
        ("knee_id,kl\n,1\n", "line 2 names no knee"),
        ('knee_id,kl\n"a_L,1\n', "cannot be read"),
    ],
)
def test_a_bad_sheet_is_refused_whole(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        read_answers(write(tmp_path / "a.csv", text))
    assert message in error.value.found


def test_label_studio(tmp_path: Path) -> None:
    tasks = [task("a_L", "3"), task("b_R"), task("c_L", "unreadable: not a knee"), task("d_L", "1", cancelled=True)]
    assert read_answers(write(tmp_path / "a.json", json.dumps(tasks))) == {"a_L": 3, "c_L": None}
    small = [{"knee_id": "a_L", "kl": "3", "image": "x"}, {"knee_id": "b_R", "image": "x"}]
    assert read_answers(write(tmp_path / "b.json", json.dumps(small))) == {"a_L": 3}


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({}, "no list of tasks"),
        ([task("a_L", "3"), task("a_L", "2")], "grade 3 in task 1 and grade 2 in task 2"),
        ([task("a_L", "9")], "grade '9' for knee a_L in task 1"),
        ([task("", "1")], "task 1 names no knee"),
        ([{"data": {"knee_id": "a_L"}, "annotations": [{"result": [{"from_name": "kl"}]}]}], "task 1 cannot be read"),
    ],
)
def test_a_bad_export_is_refused(tmp_path: Path, tasks: object, message: str) -> None:
    with pytest.raises(UserError) as error:
        read_answers(write(tmp_path / "a.json", json.dumps(tasks)))
    assert message in error.value.found


def test_a_cut_off_export(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_answers(write(tmp_path / "a.json", json.dumps([task("a_L", "3")])[:-20]))


def test_a_spreadsheet(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is in the extra kneeal[annotate]")
    book = openpyxl.Workbook()
    for row in (["knee_id", "picture", "kl", "unreadable"], ["a_L", "x", 3, None], ["b_R", "x", None, "other"]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    assert read_answers(tmp_path / "a.xlsx") == {"a_L": 3, "b_R": None}
    write(tmp_path / "b.xlsx", "no zip")
    with pytest.raises(UserError, match="cannot be read"):
        read_answers(tmp_path / "b.xlsx")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        read_answers(tmp_path / "a.csv")
