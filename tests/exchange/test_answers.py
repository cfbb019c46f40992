"""Answers from files: every form is read, every mistake is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kneeal.errors import UserError
from kneeal.exchange.answers import Answers, add_reasons, read_answers, read_reasons


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
    assert read_answers(write(tmp_path / "a.csv", text)).grades == {"a_L": 3, "c_L": 0}


def test_a_column_that_was_sorted_alone_moves_no_grade_to_another_knee(tmp_path: Path) -> None:
    head, rows = "knee_id,picture,kl\n", [("b_R", 1), ("a_L", 2)]
    own = "".join(f"{knee},pictures/{n:03d}-{knee}.png,{n}\n" for knee, n in rows)
    assert read_answers(write(tmp_path / "a.csv", head + own)).grades == {"b_R": 1, "a_L": 2}
    assert read_answers(write(tmp_path / "a.csv", head + "a_L,my pictures/5-xray.jpg,2\n")).grades == {"a_L": 2}
    swapped = "a_L,pictures/001-b_R.png,1\nb_R,pictures/002-a_L.png,2\n"
    with pytest.raises(UserError, match=r"2 answers cannot be taken.*\n.*knee a_L beside the picture of b_R in line 2"):
        read_answers(write(tmp_path / "a.csv", head + swapped))


def test_an_unreadable_knee(tmp_path: Path) -> None:
    sheet = "knee_id,kl,unreadable\na_L,,implant or hardware\nb_R,2,\n"
    answers = read_answers(write(tmp_path / "a.csv", sheet))
    assert answers.grades == {"a_L": None, "b_R": 2} and answers.reasons == {"a_L": "implant or hardware"}


@pytest.mark.parametrize(
    ("written", "kept"),
    [("Not a knee", "not a knee"), ("other: TKR left, see report", "other: TKR left, see report"), ("OTHER", "other")],
)
def test_the_words_of_a_reason_are_kept(tmp_path: Path, written: str, kept: str) -> None:
    sheet = write(tmp_path / "a.csv", f'knee_id,kl,unreadable\na_L,,"{written}"\n')
    add_reasons(tmp_path, {"b_R": "other: moved"})
    add_reasons(tmp_path, read_answers(sheet).reasons)
    assert read_reasons(tmp_path) == {"a_L": kept, "b_R": "other: moved"}


@pytest.mark.parametrize("text", ["-", "nein", "none", "ok", "0.0", "TKR left, see report", "other:"])
def test_words_that_are_not_a_reason_are_refused_by_cell(tmp_path: Path, text: str) -> None:
    sheet = write(tmp_path / "a.csv", f'knee_id,kl,unreadable\na_L,2,\nb_R,,"{text}"\n')
    with pytest.raises(UserError, match=f"the reason '{text}' for knee b_R in line 3"):
        read_answers(sheet)


def test_all_bad_cells_are_named_at_once(tmp_path: Path) -> None:
    rows = "".join(f"k{n}_L,{'7' if n % 2 else ''},{'' if n % 2 else 'ok'}\n" for n in range(30))
    with pytest.raises(UserError) as error:
        read_answers(write(tmp_path / "a.csv", "knee_id,kl,unreadable\n" + rows))
    named = error.value.found
    assert "30 answers cannot be taken" in named and "and 10 more" in named
    assert named.count("grade '7'") == named.count("the reason 'ok'") == 10


@pytest.mark.parametrize(
    ("written", "kl"),
    [("II", 2), ("iv", 4), ("KL 2", 2), ("KL3", 3), ("grade 0", 0), ("K-L grade: 1", 1), ("2+", 2), ('"2,0"', 2)],
)
def test_grades_as_people_write_them_are_read_on_request(tmp_path: Path, written: str, kl: int) -> None:
    sheet = write(tmp_path / "a.csv", f"knee_id,kl\na_L,{written}\n")
    with pytest.raises(UserError) as error:
        read_answers(sheet)
    assert "--as-written" in error.value.cure
    assert read_answers(sheet, as_written=True).grades == {"a_L": kl}


@pytest.mark.parametrize("written", ["V", "5", "2-3", "1.5", "TKR", "2 or 3", "IIII", "-1", ": 2"])
def test_no_grade_is_guessed(tmp_path: Path, written: str) -> None:
    with pytest.raises(UserError, match="grade"):
        read_answers(write(tmp_path / "a.csv", f"knee_id,kl\na_L,{written}\n"), as_written=True)


@pytest.mark.parametrize("header", ["knee_id,kl,kl", "knee_id,kl,KL", "knee_id, kl ,kl,kl", "knee_id,knee_id,kl"])
def test_a_doubled_column_is_refused(tmp_path: Path, header: str) -> None:
    rows = "".join(f"k{n}_L,{n % 5},4,4\n" for n in range(5))
    with pytest.raises(UserError, match="has a column twice"):
        read_answers(write(tmp_path / "a.csv", f"{header}\n{rows}"))


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
        ("knee_id,grade\na_L,1\n", "without the column kl; it has knee_id, grade"),
        ("", "without the columns knee_id, kl"),
        ("knee_id,kl\n,1\n", "line 2 names no knee"),
        ('knee_id,kl\n"a_L,1\n', "cannot be read"),
        ('"knee_id,kl"\n"a_L,""1"\n', "cannot be read"),
        ('"knee_id,kl"\n"a_L,1\nb_L,2"\n', "cannot be read"),
    ],
)
def test_a_bad_sheet_is_refused_whole(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        read_answers(write(tmp_path / "a.csv", text))
    assert message in error.value.found


def test_label_studio(tmp_path: Path) -> None:
    tasks = [task("a_L", "3"), task("b_R"), task("c_L", "unreadable: not a knee"), task("d_L", "1", cancelled=True)]
    assert read_answers(write(tmp_path / "a.json", json.dumps(tasks))) == Answers(
        {"a_L": 3, "c_L": None}, {"c_L": "not a knee"}
    )
    small = [{"knee_id": "a_L", "kl": "3", "image": "x"}, {"knee_id": "b_R", "image": "x"}]
    assert read_answers(write(tmp_path / "b.json", json.dumps(small))).grades == {"a_L": 3}


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({}, "not a list of tasks"),
        ([task("a_L", "3"), task("a_L", "2")], "grade 3 in task 1 and grade 2 in task 2"),
        ([task("a_L", "9")], "grade '9' for knee a_L in task 1"),
        ([task("", "1")], "task 1 names no knee"),
        ([{"data": {"knee_id": "a_L"}, "annotations": [{"result": [{"from_name": "kl"}]}]}], "task 1 cannot be read"),
        ([{"data": {"knee_id": "a_L"}, "annotations": 5}], "task 1 cannot be read"),
        ([{"data": {"knee_id": "a_L"}, "annotations": [{"result": 5}]}], "task 1 cannot be read"),
    ],
)
def test_a_bad_export_is_refused(tmp_path: Path, tasks: object, message: str) -> None:
    with pytest.raises(UserError) as error:
        read_answers(write(tmp_path / "a.json", json.dumps(tasks)))
    assert message in error.value.found


def test_a_doubled_key_of_an_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a key twice"):
        read_answers(write(tmp_path / "a.json", '[{"knee_id": "a_L", "kl": "0", "kl": "4"}]'))


def test_a_cut_off_export(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_answers(write(tmp_path / "a.json", json.dumps([task("a_L", "3")])[:-20]))


def test_a_spreadsheet(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is in the extra kneeal[annotate]")
    book = openpyxl.Workbook()
    for row in (["knee_id", "picture", "kl", "unreadable"], ["a_L", "x", 3, None], ["b_R", "x", None, "other"]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    assert read_answers(tmp_path / "a.xlsx").grades == {"a_L": 3, "b_R": None}
    (tmp_path / "b.xlsx").write_bytes((tmp_path / "a.xlsx").read_bytes()[:3000])
    with pytest.raises(UserError, match="cannot be read"):
        read_answers(tmp_path / "b.xlsx")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        read_answers(tmp_path / "a.csv")
