"""Tables of archives and of knees: what `kneeal.tables` reads, or SAS7BDAT; every value as text.

A row says of a knee what is known: picture, patient, side, grade, split and site; it comes from a table or from a path.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kneeal import tables
from kneeal.errors import UserError, readable, some
from kneeal.prepare.notation import UnreadableError, option_for_grades, read_grade, read_side, read_split, sides_of
from kneeal.prepare.paths import walk_files

_Records = list[tuple[str, dict[str, str]]]
_Texts = Iterable[tuple[str, Mapping[str, str]]]

SUFFIXES = (".txt", ".csv", ".tsv", ".sas7bdat", ".xlsx")
_NUMBER = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*(?::.*)?", re.DOTALL)
#: Levels of folders in which tables are looked for: an archive's image folders are deeper.
_DEPTH = 5
#: What a column of grades may be called, beside the side.
_KL = {"kl", "klg", "kellgren", "lawrence", "grade", "grades", "grad", "grado", "grau"}
_SHORTENED = re.compile(r"\d+[.,]\d+e\+\d+", re.IGNORECASE)


def read_archive_table(path: Path, needed: Sequence[str] = (), *, exact: bool = False) -> tables.Table:
    """Read a `.sas7bdat`, or what `kneeal.tables.read_table` reads.

    Raises:
        UserError: It cannot be read, or one of the `needed` columns is missing; case does not count.
    """
    if path.suffix.lower() != ".sas7bdat":
        return tables.read_table(path, needed, exact=exact)
    # The parser raises whatever a damaged file leads it to.
    with readable(path, "a whole SAS7BDAT file", "fetch it again", Exception):
        frame = pd.read_sas(path, format="sas7bdat", encoding="latin-1")
    header = tuple(map(str, frame.columns))
    tables.check_header(str(path), header, needed)
    cells = frame.astype(object).where(frame.notna(), "").map(tables.as_text)
    rows = tuple(cells.itertuples(index=False, name=None))
    return tables.Table(header, rows, tuple(f"row {number}" for number in range(1, len(rows) + 1)))


def read_rows(path: Path, needed: Sequence[str] = ()) -> list[dict[str, str]]:
    """The rows of a table, by column name in small letters."""
    return [row for _, row in read_archive_table(path, needed).records]


def find_table(folder: Path, names: Sequence[str], what: str) -> Path:
    """The table of one of these names (without suffix, case does not count) in a folder or a few levels below it."""
    stems = [name.lower() for name in names]
    candidates = (path for path in walk_files(folder, depth=_DEPTH) if path.suffix.lower() in SUFFIXES)
    found = [path for path in candidates if path.stem.lower() in stems]
    if not found:
        raise UserError(
            f"no table {' or '.join(names)} in {folder}",
            f"{what}, as .txt, .csv or .sas7bdat",
            "put it there, or name its folder with --tables",
        )
    # The first name in the list, then text before SAS, then the shortest path.
    return min(found, key=lambda p: (stems.index(p.stem.lower()), SUFFIXES.index(p.suffix.lower()), len(p.parts), p))


def coded_number(text: str) -> float | None:
    """The number of a value such as `2`, `2.0`, `1: Right`; None for `.: Missing Form` and the like."""
    match = _NUMBER.fullmatch(text)
    return float(match.group(1)) if match else None


def coded_grade(text: str) -> int | None:
    """A KL grade from 0 to 4, None for anything else (missing, 1.9, 8 for a replacement)."""
    value = coded_number(text)
    return int(value) if value is not None and value in (0, 1, 2, 3, 4) else None


def identifier(text: str) -> str:
    """A patient id as text, accents composed and digits plain; SAS holds whole numbers as 9000099.0."""
    text = unicodedata.normalize("NFKC", text).strip()
    return text[:-2] if re.fullmatch(r"\d+\.0", text) else text


@dataclass(frozen=True)
class KneeRow:
    """What is known of a knee."""

    where: str  #: What to call the row in a message.
    path: str = ""  #: The picture; empty where it is found by the patient.
    patient: str = ""  #: Patient id; empty where it is not known.
    side: str = ""  #: "L", "R", or empty where it is not known.
    grade: int | None = None  #: KL grade; None where it is missing.
    split: str = ""  #: "train", "val", "test" or empty.
    site: str = ""  #: Acquisition site or empty.


def read_knee_table(
    path: Path,
    columns: Mapping[str, str | None] | None = None,
    *,
    needed: Sequence[str] = (),
    grades: Mapping[str, int | None] | None = None,
) -> list[KneeRow]:
    """Read a table with one row per knee, or per patient with a column of grades for each side (KL_R, KL_L).

    `columns` are its column names by field, where they are not the field's own; `needed` are fields that must be there,
    such as "grade" or "patient or path".

    Raises:
        UserError: A column is missing, or cells say something else; they are named with their rows.
    """
    given = {field: name for field, name in (columns or {}).items() if name is not None}
    table = read_archive_table(path, list(given.values()), exact=True)
    records = table.records
    names = {field: tables.fold(given.get(field, field)) for field in FIELDS}
    header = [tables.fold(name) for name in table.header]
    if not {names["grade"], names["side"]} & set(header):
        records, more = _long(records, header)
        header += more
    there = {field: name for field, name in names.items() if name in header}
    missing = [fields for fields in needed if not set(fields.split(" or ")) & set(there)]
    if missing:
        cure = "name it with " + " and ".join(f"--{fields.split(' or ')[0]}-column" for fields in missing)
        if "grade" in missing:
            cure += "; a grade for each side is in columns KL_R and KL_L, without a column side"
        raise tables.missing_columns(str(path), missing, table.header, f"columns for {', '.join(needed)}", cure)
    texts = ((where, {field: row[name] for field, name in there.items()}) for where, row in records)
    return make_rows(texts, str(path), grades)


def make_rows(
    texts: _Texts, source: str, grades: Mapping[str, int | None] | None = None, what: str = "these cells"
) -> list[KneeRow]:
    """Rows from the text of the fields of each, with what to call it in a message; `what` is to be corrected.

    Raises:
        UserError: A cell cannot be read; all are named.
    """
    bad: dict[str, list[tuple[str, str]]] = {}
    rows = []
    for where, text in texts:
        values: dict[str, Any] = {}
        for field in text.keys() & set(FIELDS):
            try:
                values[field] = read_grade(text[field], grades) if field == "grade" else _READERS[field](text[field])
            except UnreadableError:
                bad.setdefault(field, []).append((text[field], where))
        rows.append(KneeRow(where, **values))
    if bad:
        found = "; ".join(f"{f} {some(f'{text!r} in {where}' for text, where in bad[f])}" for f in FIELDS if f in bad)
        expected = "; ".join(FIELDS[field] for field in FIELDS if field in bad)
        _, option = option_for_grades(text for text, _ in bad.get("grade", []))
        cure = f"give {option}, or correct {what}" if option and not grades else f"correct {what}"
        raise UserError(f"{source}: {found}", expected, cure)
    return rows


def _patient(text: str) -> str:
    """The id, unless it is a number of which only the first digits are left."""
    if _SHORTENED.fullmatch(text):
        raise UnreadableError(text)
    return identifier(text)


def _plain_site(text: str) -> str:
    text = text.strip()
    if text.startswith(tables.FORMULA) and text != "-":
        raise UnreadableError(text)
    return text


#: What a row may say, and how that is written.
FIELDS = {
    "path": "a path",
    "patient": "whole ids, which a spreadsheet keeps if the column is text",
    "side": "R or L, right or left, 1 or 2",
    "grade": "a grade from 0 to 4, or x, n/a, TKR or empty where it is missing; name others with --grades",
    "split": "train, val or test",
    "site": "a name that does not begin with = or @",
}
_READERS: Mapping[str, Callable[[str], str]] = {
    "path": str.strip, "patient": _patient, "side": read_side, "split": read_split, "site": _plain_site,
}  # fmt: skip


def _long(records: _Records, header: Sequence[str]) -> tuple[_Records, list[str]]:
    """One row per knee, where a table has a column of grades for each side; and the columns that are new."""
    wide: dict[str, list[str]] = {"R": [], "L": []}
    for column in header:
        words = re.findall(r"[^\W_]+", re.sub(r"\bk\W?l(?=g?\b)|kl(?=[rl]\b)", " kl ", column))
        # A column of another measure, or of one visit among several, has more words.
        sides = sides_of(word for word in words if word not in _KL)
        if _KL & set(words) and sides in ({"R"}, {"L"}):
            wide[sides.pop()].append(column)
    if [len(columns) for columns in wide.values()] != [1, 1]:
        return records, []
    long = [(where, {**row, "side": side, "grade": row[wide[side][0]]}) for where, row in records for side in "RL"]
    return long, ["side", "grade"]
