"""Tables as other programs write them: read where that can be done in one way only, else refused with what they are."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

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


def test_a_workbook_with_a_title(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is in the extra kneeal[annotate]")
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
