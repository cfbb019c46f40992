"""Tables as other programs write them: read where that can be done in one way only, else refused with what they are."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import openpyxl
import pytest

from kneeal.data.manifest import COLUMNS, read_manifest
from kneeal.errors import UserError
from kneeal.exchange.answers import read_answers
from kneeal.localizer.landmarks import read_landmark_table
from kneeal.tables import read_table

TEXT = "knee_id,kl\na_L,3\nb_R,0\n"
ROWS = (("a_L", "3"), ("b_R", "0"))


def zipped(name: str, content: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(name, content)
    return data.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.replace(",", "\t").encode("utf-16"),
        TEXT.replace(",", ";").replace("\n", "\r\n").encode("cp1252"),
        TEXT.replace("knee_id,kl", " Knee_ID , KL ").encode(),
        ("Query 3 of Dr Müller\n\n" + TEXT).encode("cp1252"),
        b"knee_id,kl,,\na_L,3,,\nb_R,0,,\n,,,\n",
        b"sep=;\n" + TEXT.replace(",", ";").encode(),
        ("Knees of May, June\r" + TEXT.replace(",", ";").replace("\n", "\r")).encode(),
        TEXT.replace("knee_id", '"knee_id\u00a0"').encode(),
        b'"knee_id,kl"\n"a_L,3"\n"b_R,0"\n',
        b'"knee_id;kl";;\n"a_L;3";;\n"b_R;0";;\n',
    ],
)
def test_one_table_in_many_forms(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    table = read_table(path, ("knee_id", "kl"))
    assert [name.casefold() for name in table.header] == ["knee_id", "kl"] and table.rows == ROWS


def test_places_are_those_of_an_editor(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("title\n\nknee_id,kl\n\na_L,3\n")
    assert read_table(path, ("knee_id",)).records == [("line 5", {"knee_id": "a_L", "kl": "3"})]


def test_a_row_is_where_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,"one\ntwo"\n\n3,"x\n\ny"\n4,z\n')
    assert read_table(path).places == ("line 2", "line 5", "line 8")
    path.write_text('a,b\n1,"one\n2,x\n')
    with pytest.raises(UserError, match="from line 2") as error:
        read_table(path)
    assert "quote" in error.value.cure


def test_columns_are_the_same_in_every_form_of_their_names(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('Co\u0302te\u0301,"KL\ngrade",x  y\n1,2,3\n')
    assert read_table(path, ("c\u00f4t\u00e9", "kl grade", "X Y")).records == [
        ("line 3", {"c\u00f4t\u00e9": "1", "kl grade": "2", "x y": "3"})
    ]


def test_a_header_whose_names_hold_separators_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('path;"KL (0, 1, 2, 3)";x\na;2;1\n')
    assert read_table(path, ("path",)).header == ("path", "KL (0, 1, 2, 3)", "x")


def workbook(path: Path, *sheets: list[list[object]]) -> openpyxl.Workbook:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for rows in sheets:
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(row)
    book.save(path)
    return book


def test_a_workbook_shows_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    book = workbook(path, [["Knees of May"], ["id", "kl"], [7, 1], [None, 2], [8, 3]])
    sheet = book.active
    sheet.merge_cells("A1:B1")
    sheet.merge_cells("A3:A4")
    for cell in ("A3", "A5"):
        sheet[cell].number_format = "000"
    book.save(path)
    assert read_table(path).rows == (("007", "1"), ("007", "2"), ("008", "3"))
    # Some programs write too small a size of the sheet.
    whole, cut = path.read_bytes(), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(cut, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'ref="A1:B5"', b'ref="A1:B3"'))
    path.write_bytes(cut.getvalue())
    assert len(read_table(path).rows) == 3


def test_the_sheet_with_the_columns_is_read_and_two_of_them_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    data = [["knee_id", "kl"], ["a_L", 3]]
    book = workbook(path, [], [["Legend"], ["KL 0 is normal"]], [["code", "meaning"], [1, 2]], data)
    assert read_table(path, ("knee_id",)).rows == (("a_L", "3"),)
    old = book.create_sheet(index=0)
    for row in data:
        old.append(row)
    book.save(path)
    with pytest.raises(UserError, match="several sheets with the same columns"):
        read_table(path, ("knee_id",))
    old.sheet_state = "hidden"
    book.save(path)
    assert read_table(path, ("knee_id",)).rows == (("a_L", "3"),)


def test_formulas_that_nothing_calculated_are_refused(tmp_path: Path) -> None:
    workbook(tmp_path / "t.xlsx", [["id", "kl"], [7, "=1+1"]])
    with pytest.raises(UserError, match="not calculated") as error:
        read_table(tmp_path / "t.xlsx")
    assert "save" in error.value.cure


def test_a_workbook_with_a_title(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["Query 3"], [], ["KNEE_ID", "KL"], ["a_L", 3.0], ["b_R", 0]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    assert read_table(tmp_path / "t.xlsx", ("knee_id", "kl")).rows == ROWS


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (zipped("mimetype", "application/vnd.oasis.opendocument.spreadsheet"), "an OpenDocument spreadsheet"),
        (zipped("a.txt", "x"), "a zip archive"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), "a spreadsheet of Excel before 2007"),
        (b"%PDF-1.7\n", "a PDF"),
        (bytes(range(256)), "not text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # a zip archive holds the time
)
def test_what_is_no_table_is_said(tmp_path: Path, data: bytes, kind: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"it is {kind}") as error:
        read_table(path, ("knee_id",))
    assert "save it as CSV" in error.value.cure


@pytest.mark.parametrize("read", [read_answers, read_manifest, read_landmark_table, read_table])
@pytest.mark.parametrize("second", ["", "KL", " kl "])
def test_every_table_refuses_a_doubled_column(tmp_path: Path, read: object, second: str) -> None:
    path = tmp_path / "manifest.csv"
    header = [*COLUMNS, "x1", "y1", "x2", "y2", second or "kl"]
    path.write_text(",".join(header) + "\n" + ",".join("1" for _ in header) + "\n")
    with pytest.raises(UserError, match="has a column twice: 'kl'"):
        read(path)  # type: ignore[operator]
