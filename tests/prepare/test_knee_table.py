"""Tables of knees: columns by any name, one row per knee or one per patient, rows named as the file counts them."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest

from kneeal.errors import UserError
from kneeal.prepare.tables import KneeRow, read_knee_table


def table(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding)
    return path


def test_all_but_one_column_may_be_missing(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "path\na.png\nb.png\n")
    assert read_knee_table(path) == [KneeRow("line 2", "a.png"), KneeRow("line 3", "b.png")]
    path = table(tmp_path / "u.csv", "File;Who;Knee;KL;Set;Clinic\na.png;7.0;rechts;II;Training;Ost\n")
    columns = {"path": "file", "patient": "who", "side": "knee", "grade": "kl", "split": "set", "site": "clinic"}
    assert read_knee_table(path, columns) == [KneeRow("line 2", "a.png", "7", "R", 2, "train", "Ost")]
    with pytest.raises(UserError, match="without the column grade") as caught:
        read_knee_table(path, needed=("grade",))
    assert "--grade-column" in caught.value.cure
    with pytest.raises(UserError, match="column score"):
        read_knee_table(path, {"grade": "score"})


def test_of_two_columns_that_differ_in_case_the_one_named_exactly_is_read(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "path,Path,KL,Kl\na.png,b.png,1,2\n")
    for name, grade, file in (("path", "KL", "a.png"), ("Path", "Kl", "b.png")):
        rows = read_knee_table(path, {"path": name, "grade": grade})
        assert rows == [KneeRow("line 2", file, grade={"KL": 1, "Kl": 2}[grade])]
    for columns in ({}, {"path": "Path"}, {"path": "PATH", "grade": "KL"}):
        with pytest.raises(UserError, match="has a column twice"):
            read_knee_table(path, columns)


def test_cells_that_say_something_else_are_all_named_with_their_lines(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "path,side,grade,split\na,R,2,train\n\n\nb,up,3,\nc,L,2-3,fold1\nd,L,,\n")
    with pytest.raises(UserError) as caught:
        read_knee_table(path)
    for part in ("side 'up' in line 5", "grade '2-3' in line 6", "split 'fold1' in line 6"):
        assert part in caught.value.found
    assert "--grades" in caught.value.expected


def test_a_column_of_grades_for_each_side_becomes_a_row_for_each_knee(tmp_path: Path) -> None:
    for head in ("KL_R,KL_L", "kl right,kl left", "KLR,KLL", "right_kl,left_kl", "KL rechts,KL links",
                 "KL (R),KL (L)", "KL D,KL G", "KL_DX,KL_SX", "right knee K-L grade,left knee K-L grade"):  # fmt: skip
        rows = read_knee_table(table(tmp_path / "t.csv", f"id,{head}\n7,2,TKR\n8,0,1\n"), {"patient": "id"})
        assert [(row.where, row.patient, row.side, row.grade) for row in rows] == [
            ("line 2", "7", "R", 2), ("line 2", "7", "L", None), ("line 3", "8", "R", 0), ("line 3", "8", "L", 1),
        ]  # fmt: skip


@pytest.mark.parametrize(
    "head",
    ["pain_R,pain_L", "JSN grade R,JSN grade L", "age_r,age_l", "right,left", "KL_1,KL_2", "KL_R 12m,KL_L 12m",
     "KL_R,KL_L,Grade R,Grade L", "KL_R,KL rechts,KL_L"],
)  # fmt: skip
def test_columns_of_something_else_are_not_taken_for_grades(tmp_path: Path, head: str) -> None:
    path = table(tmp_path / "t.csv", f"id,{head}\n7{',2' * (1 + head.count(','))}\n")
    with pytest.raises(UserError, match="without the column grade") as caught:
        read_knee_table(path, {"patient": "id"}, needed=("grade",))
    assert "--grade-column" in caught.value.cure and "KL_R and KL_L" in caught.value.cure


def test_an_id_of_which_a_spreadsheet_left_the_first_digits_is_refused(tmp_path: Path) -> None:
    for patient in ("9.0017E+06", '"9,0017e+06"'):
        path = table(tmp_path / "t.csv", f"patient,side,grade\n{patient},R,1\n")
        with pytest.raises(UserError, match=r"patient '9.0017[eE]\+06' in line 2"):
            read_knee_table(path)


def test_spreadsheets_and_utf_16_are_read(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["patient", "side", "grade"], [7, "R", 2.0], [None, None, None], ["8", "L", "n/a"]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    expected = [("7", "R", 2), ("8", "L", None)]
    assert [(r.patient, r.side, r.grade) for r in read_knee_table(tmp_path / "t.xlsx")] == expected
    assert [r.where for r in read_knee_table(tmp_path / "t.xlsx")] == ["row 2", "row 4"]
    path = table(tmp_path / "t.csv", "patient\tside\tgrade\n7\tR\t2\n8\tL\tn/a\n", "utf-16")
    assert [(r.patient, r.side, r.grade) for r in read_knee_table(path)] == expected


def test_a_patient_is_the_same_in_every_form_of_the_text(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "patient,side\ne\u0301va,R\n\u00e9va,L\n\uff17,R\n")
    assert [row.patient for row in read_knee_table(path)] == ["\u00e9va", "\u00e9va", "7"]
