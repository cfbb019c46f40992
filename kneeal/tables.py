"""Tables from other people's programs: text in the usual encodings and separators, or XLSX; every cell as text.

What can be read in two ways is refused: two columns of one name, two sheets of one header, or a row with more or fewer
cells than the header.
"""

import csv
import io
import math
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kneeal.errors import UserError, extra, readable, some

SEPARATORS = ",;\t|"
#: Cells that begin so are formulas to a spreadsheet.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
#: Rows that may stand above the header: a title, a date, an empty line.
_TITLE_ROWS = 10
_Rows = list[tuple[str, list[str]]]
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
    places: tuple[str, ...]  #: Where each row begins, for example "line 3"; empty rows count.

    @property
    def records(self) -> list[tuple[str, dict[str, str]]]:
        """Where each row is, and its cells by `fold` of the column's name."""
        names = [fold(name) for name in self.header]
        return [(place, dict(zip(names, row, strict=True))) for place, row in zip(self.places, self.rows, strict=True)]


def read_table(
    path: Path, needed: Sequence[str] = (), *, own: bool = False, whole: bool = False, exact: bool = False
) -> Table:
    """Read a table.

    Args:
        path: Text (UTF-8, UTF-16 with its mark, else Windows-1252), or XLSX, of which the first visible sheet with the
            needed columns is read.
        needed: Columns that must be there, in any case; they also tell the header from a title above it.
        own: The package wrote it: with commas, and blanks around a cell are part of it. Otherwise they are removed, and
            what the header has most of stands between the cells: a comma, semicolon, tab or vertical bar.
        whole: Refuse text whose last line does not end: the only trace of a copy that broke off.
        exact: A needed column that is written exactly so counts, and not another one that differs in case.

    Raises:
        UserError: It is missing or not a table, a column is missing or repeated, or a row has another number of cells.
    """
    separators = "," if own else SEPARATORS
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"no file {path}", "a table", "check the path") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", "a readable file", "make it readable") from error
    try:
        excel = data.startswith(b"PK") and b"xl/" in data
        sheets = _xlsx_rows(path, data) if excel else [_text_rows(path, data, needed, separators, whole=whole)]
        if not own:
            sheets = [[(place, [cell.strip() for cell in cells]) for place, cells in rows] for rows in sheets]
        tables = [_unsqueeze([row for row in rows if any(row[1])], separators) for rows in sheets]
    except csv.Error as error:
        cure = "save it again, and close every quote"
        raise UserError(f"{path} cannot be read as a table ({error})", "a whole CSV file", cure) from error
    tables = [rows[_header(rows, needed) :] for rows in tables if rows] or [[("", [])]]
    headers = [[*map(fold, rows[0][1])] for rows in tables]
    chosen = next((k for k, names in enumerate(headers) if {*map(fold, needed)} <= set(names) and len(names) > 1), 0)
    if headers.count(headers[chosen]) > 1:
        raise UserError(f"{path} has several sheets with the same columns", "one", "put their rows into one sheet")
    (_, header), *filled = tables[chosen]
    while header and not header[-1]:  # spreadsheets write separators for columns that are empty
        header = header[:-1]
    named = {fold(name) for name in needed if exact and name in header}
    kept = [k for k, name in enumerate(header) if name in needed or fold(name) not in named]
    n, header = len(header), [header[k] for k in kept]
    check_header(str(path), header, needed)
    body = [(place, cells if any(cells[n:]) else cells[:n]) for place, cells in filled]
    ragged = [f"{place} has {len(cells)}" for place, cells in body if len(cells) != n]
    if ragged:
        raise UserError(
            f"{path}: {some(ragged)} cells",
            f"{n} cells in each row, as in the header",
            'add what is missing, put cells with a separator in "quotes", or copy the file again if it was cut off',
        )
    cells = tuple(tuple(cells[k] for k in kept) for _, cells in body)
    return Table(tuple(header), cells, tuple(place for place, _ in body))


def check_header(where: str, header: Sequence[str], needed: Sequence[str] = ()) -> None:
    """Refuse a header in which a column is missing or occurs twice; case and blanks do not distinguish names."""
    folded = [fold(name) for name in header]
    twice = sorted({name for name in folded if folded.count(name) > 1})
    if twice:
        raise UserError(
            f"{where} has a column twice: {', '.join(map(repr, twice))}",
            "each column once, since nothing says which of two is meant",
            "remove or rename one of them",
        )
    missing = [name for name in needed if fold(name) not in folded]
    if missing:
        cure = "add or rename them, or check that this is the right table"
        raise missing_columns(where, missing, header, f"a header with the columns {', '.join(needed)}", cure)


def missing_columns(where: str, missing: Sequence[str], header: Iterable[str], expected: str, cure: str) -> UserError:
    """The error for a table without some columns, which names those that it has."""
    lacked = f"column{'s' * (len(missing) > 1)} {', '.join(missing)}"
    return UserError(f"{where} without the {lacked}; it has {some(header, 12) or 'none'}", expected, cure)


def decode(data: bytes) -> str | None:
    """Text in UTF-8, in UTF-16 with its byte order mark, or else in Windows-1252; None where it is not text."""
    for encoding in ("utf-16",) if data.startswith((b"\xff\xfe", b"\xfe\xff")) else ("utf-8-sig", "cp1252"):
        with suppress(UnicodeDecodeError):
            text = data.decode(encoding)
            return None if "\0" in text else text
    return None


def normalize(text: str) -> str:
    """The text in one form: full-width digits, ligatures and accents composed alike, single blanks, none around."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def fold(name: str) -> str:
    """The name of a column as it is compared."""
    return normalize(name).casefold()


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


def _text_rows(path: Path, data: bytes, needed: Sequence[str], separators: str, *, whole: bool) -> _Rows:
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
    lines = re.split(r"\r\n?|\n", text)[:_TITLE_ROWS]
    likely = (
        line for line in lines if set(separators) & set(line) and all(fold(name) in fold(line) for name in needed)
    )
    top = re.sub(r'"[^"]*"', "", next(likely, lines[0]))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=max(separators, key=top.count))
    rows, start = [], 1
    try:
        for row in reader:
            rows.append((f"line {start}", row))
            start = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(f"from line {start}: {error}") from None
    return rows


def _xlsx_rows(path: Path, data: bytes) -> list[_Rows]:
    """The rows of each visible sheet; each row of cells that are merged has what they show."""
    openpyxl = load_openpyxl()
    sheets = []
    # The package raises whatever zipfile and its XML parser raise.
    with readable(path, "a whole XLSX file", "save or export it again", Exception):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist() if name.endswith(".xml")}
        # Programs that cannot calculate leave that to the next one that opens the file.
        stale = b'fullCalcOnLoad="1"' in parts["xl/workbook.xml"]
        stale &= any(re.search(rb"<f[ >]", part) for name, part in parts.items() if "/worksheets/" in name)
        for sheet in openpyxl.load_workbook(io.BytesIO(data), data_only=True).worksheets:
            rows = [[_shown(cell) for cell in row] for row in sheet.iter_rows()]
            for area in sheet.merged_cells.ranges:
                for row in rows[area.min_row - 1 : area.max_row]:
                    row[area.min_col - 1] = rows[area.min_row - 1][area.min_col - 1]
            if sheet.sheet_state == "visible":
                sheets.append([(f"row {number}", row) for number, row in enumerate(rows, 1)])
    if stale:
        found = f"{path} has formulas whose values were not calculated yet"
        raise UserError(found, "values", "open it in a spreadsheet program and save it")
    return sheets


def _shown(cell: Any) -> str:
    """The text of a cell, with the zeros in front that its format shows."""
    text = as_text(cell.value)
    zeros = set(cell.number_format) == {"0"} and text.isdecimal()
    return text.zfill(len(cell.number_format)) if zeros else text


def _header(rows: _Rows, needed: Sequence[str]) -> int:
    """Where the header is: titles above it have other names, or one cell."""
    several = any(sum(map(bool, cells)) > 1 for _, cells in rows)
    folded = {fold(name) for name in needed}
    for k, (_, cells) in enumerate(rows[:_TITLE_ROWS]):
        if folded <= {fold(cell) for cell in cells} and (sum(map(bool, cells)) > 1 or not several):
            return k
    return 0


def _unsqueeze(rows: _Rows, separators: str) -> _Rows:
    """Split rows that are all in the first column, where a spreadsheet with another separator puts them."""
    if not rows or any(any(cells[1:]) for _, cells in rows):
        return rows
    separator = max(separators, key=rows[0][1][0].count)
    if separator not in rows[0][1][0]:
        return rows
    return [
        (place, [cell.strip() for cell in next(csv.reader([cells[0]], strict=True, delimiter=separator))])
        for place, cells in rows
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
