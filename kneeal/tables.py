"""Tables from other people's programs: text in the usual encodings and separators, or XLSX; every cell as text.

What can be read in two ways is refused: two columns of one name, or a row with more or fewer cells than the header.
"""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kneeal.errors import UserError, extra

SEPARATORS = ",;\t|"
#: Cells that begin so are formulas to a spreadsheet.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
#: Rows that may stand above the header: a title, a date, an empty line.
_TITLE_ROWS = 10
#: How files of other kinds begin.
_OTHER_KINDS = {
    b"PK": "a zip archive", b"\xd0\xcf\x11\xe0": "a spreadsheet of Excel before 2007",
    b"%PDF": "a PDF", b"{\\rtf": "a word document",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table with one header."""

    header: tuple[str, ...]  #: Column names as they are written.
    rows: tuple[tuple[str, ...], ...]  #: Cells, as many in each row as in the header; no empty row.
    numbers: tuple[int, ...]  #: Each row's number in the file, from 1; empty rows count.
    unit: str  #: What the numbers count: "line" or "row".

    @property
    def records(self) -> list[tuple[str, dict[str, str]]]:
        """Where each row is, for example "line 3", and its cells by column name in small letters."""
        names = [name.casefold() for name in self.header]
        return [
            (f"{self.unit} {number}", dict(zip(names, row, strict=True)))
            for number, row in zip(self.numbers, self.rows, strict=True)
        ]


def read_table(
    path: Path, needed: Sequence[str] = (), *, separators: str = SEPARATORS, whole: bool = False, strip: bool = True
) -> Table:
    """Read a table.

    Args:
        path: Text (UTF-8, UTF-16 with its mark, else Windows-1252), or XLSX, of which the first sheet is read.
        needed: Columns that must be there, in any case; they also tell the header from a title above it.
        separators: What may stand between two cells; the one that the header has most of is used.
        whole: Refuse text whose last line does not end: the only trace of a copy that broke off.
        strip: Remove blanks around the cells of text.

    Raises:
        UserError: It is missing or not a table, a column is missing or repeated, or a row has another number of cells.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"no file {path}", "a table as CSV or XLSX", "check the path") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", "a readable file", "make it readable") from error
    try:
        unit = "row" if data.startswith(b"PK") and b"xl/" in data else "line"
        numbered = _xlsx_rows(path, data) if unit == "row" else _text_rows(path, data, needed, separators, whole=whole)
        if strip:
            numbered = [(number, [cell.strip() for cell in cells]) for number, cells in numbered]
        filled = _unsqueeze([(number, cells) for number, cells in numbered if any(cells)], separators)
    except csv.Error as error:
        raise UserError(f"{path} cannot be read as a table ({error})", "a whole CSV file", "save it again") from error
    folded = {name.casefold() for name in needed}
    tops = [set(map(str.casefold, cells)) for _, cells in filled[:_TITLE_ROWS]]
    top = next((k for k, names in enumerate(tops) if folded <= names), 0)
    header = filled[top][1] if filled else []
    while header and not header[-1]:  # spreadsheets write separators for columns that are empty
        header = header[:-1]
    check_header(str(path), header, needed)
    n = len(header)
    body = [(number, cells if any(cells[n:]) else cells[:n]) for number, cells in filled[top + 1 :]]
    ragged = [f"{unit} {number} has {len(cells)}" for number, cells in body if len(cells) != n]
    if ragged:
        raise UserError(
            f"{path}: {some(ragged)} cells",
            f"{n} cells in each row, as in the header",
            'add what is missing, put cells with a separator in "quotes", or copy the file again if it was cut off',
        )
    return Table(tuple(header), tuple(tuple(cells) for _, cells in body), tuple(number for number, _ in body), unit)


def check_header(where: str, header: Sequence[str], needed: Sequence[str] = ()) -> None:
    """Refuse a header in which a column is missing or occurs twice; case and blanks do not distinguish names."""
    folded = [name.strip().casefold() for name in header]
    twice = sorted({name for name in folded if folded.count(name) > 1})
    if twice:
        raise UserError(
            f"{where} has a column twice: {', '.join(map(repr, twice))}",
            "each column once, since nothing says which of two is meant",
            "remove or rename one of them",
        )
    missing = [name for name in needed if name.casefold() not in folded]
    if missing:
        raise UserError(
            f"{where} without the column{'s' * (len(missing) > 1)} {', '.join(missing)}; it has "
            f"{some(header, 12) or 'none'}",
            f"a header with the columns {', '.join(needed)}",
            "add or rename them, or check that this is the right table",
        )


def decode(data: bytes) -> str | None:
    """Text in UTF-8, in UTF-16 with its byte order mark, or else in Windows-1252; None where it is not text."""
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"", "utf-8-sig"), (b"", "cp1252")):
        if data.startswith(mark):
            try:
                text = data.decode(encoding)
            except UnicodeDecodeError:
                continue
            return None if "\0" in text else text
    return None


def some(names: Iterable[str], max_names: int = 5) -> str:
    """The first names and how many more there are, for a message."""
    names = list(names)
    return ", ".join(names[:max_names]) + (f" and {len(names) - max_names} more" if len(names) > max_names else "")


def count(n: int, what: str) -> str:
    """A number with its noun: "1 knee", "2 knees"."""
    return f"{n:,} {what}{'s' * (n != 1)}"


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def load_openpyxl() -> Any:
    """The optional package for spreadsheets."""
    with extra("annotate", "spreadsheets; CSV needs none"):
        import openpyxl
    return openpyxl


def _text_rows(
    path: Path, data: bytes, needed: Sequence[str], separators: str, *, whole: bool
) -> list[tuple[int, list[str]]]:
    kind = next((kind for magic, kind in _OTHER_KINDS.items() if data.startswith(magic)), None)
    text = None if kind else decode(data)
    if text is None:
        kind = "an OpenDocument spreadsheet" if b"opendocument.spreadsheet" in data[:200] else kind or "not text"
        raise UserError(
            f"{path} cannot be read as a table: it is {kind}",
            "CSV or XLSX",
            "open it in the program that wrote it and save it as CSV or XLSX",
        )
    if whole and text and not text.endswith(("\n", "\r")):
        raise UserError(
            f"{path} ends in the middle of line {text.count(chr(10)) + 1}",
            "a whole file, its last line ended by a line break",
            "copy or save it again; if it is whole, add a line break at its end",
        )
    lines = [line.casefold() for line in text.split("\n")[:_TITLE_ROWS]]
    top = next((line for line in lines if all(name.casefold() in line for name in needed)), lines[0])
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=max(separators, key=top.count))
    return [(reader.line_num, row) for row in reader]


def _xlsx_rows(path: Path, data: bytes) -> list[tuple[int, list[str]]]:
    openpyxl = load_openpyxl()
    try:
        sheet = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True).worksheets[0]
        return [
            (number, [as_text(cell) for cell in row]) for number, row in enumerate(sheet.iter_rows(values_only=True), 1)
        ]
    except Exception as error:  # openpyxl raises whatever zipfile and its XML parser raise
        raise UserError(f"{path} cannot be read ({error})", "a whole XLSX file", "save or export it again") from error


def _unsqueeze(rows: list[tuple[int, list[str]]], separators: str) -> list[tuple[int, list[str]]]:
    """Split rows that are all in the first column, where a spreadsheet with another separator puts them."""
    if not rows or any(any(cells[1:]) for _, cells in rows):
        return rows
    separator = max(separators, key=rows[0][1][0].count)
    if separator not in rows[0][1][0]:
        return rows
    return [
        (number, [cell.strip() for cell in next(csv.reader([cells[0]], strict=True, delimiter=separator))])
        for number, cells in rows
    ]


def finite(cell: object) -> float | None:
    """The finite number that a cell holds, or None."""
    try:
        value = float(str(cell))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def as_text(value: object) -> str:
    """A cell of a spreadsheet or SAS table as text; a whole number without its point, nothing for None."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
