"""Tables of archives and of knees: what `kneeal.tables` reads, or SAS7BDAT; every value as text.

A row says of a knee what is known: picture, patient, side, grade, split and site; it comes from a table or from a path.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd

from kneeal import tables
from kneeal.errors import UserError
from kneeal.prepare.notation import UnreadableError, read_grade, read_side, read_split
from kneeal.prepare.paths import walk_files
from kneeal.tables import some

T = TypeVar("T")
_Records = list[tuple[str, dict[str, str]]]

SUFFIXES = (".txt", ".csv", ".tsv", ".sas7bdat", ".xlsx")
_NUMBER = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*(?::.*)?", re.DOTALL)
#: Levels of folders in which tables are looked for: an archive's image folders are deeper.
_DEPTH = 5
#: What a row may say.
FIELDS = ("path", "patient", "side", "grade", "split", "site")
_WIDE = re.compile(r"(.*?)[\s_.-]*(r|l|right|left|re|li)")


def read_archive_table(path: Path, needed: Sequence[str] = ()) -> tables.Table:
    """Read a `.sas7bdat`, or what `kneeal.tables.read_table` reads.

    Raises:
        UserError: It cannot be read, or one of the `needed` columns is missing; case does not count.
    """
    if path.suffix.lower() != ".sas7bdat":
        return tables.read_table(path, needed)
    try:
        frame = pd.read_sas(path, format="sas7bdat", encoding="latin-1")
    # The parser raises whatever a damaged file leads it to.
    except Exception as error:
        raise UserError(
            f"{path} cannot be read as a table ({error})", "a whole SAS7BDAT file", "fetch it again"
        ) from error
    header = tuple(map(str, frame.columns))
    tables.check_header(str(path), header, needed)
    cells = frame.astype(object).where(frame.notna(), "").map(tables.as_text)
    rows = tuple(cells.itertuples(index=False, name=None))
    return tables.Table(header, rows, tuple(range(1, len(rows) + 1)), "row")


def read_rows(path: Path, needed: Sequence[str] = ()) -> list[dict[str, str]]:
    """The rows of a table, by column name in small letters."""
    return [row for _, row in read_archive_table(path, needed).records]


def find_table(folder: Path, names: Sequence[str], what: str) -> Path:
    """The table of one of these names (without suffix, case does not count) in a folder or a few levels below it."""
    wanted = [name.lower() for name in names]
    candidates = (path for path in walk_files(folder, depth=_DEPTH) if path.suffix.lower() in SUFFIXES)
    found = [path for path in candidates if path.stem.lower() in wanted]
    if not found:
        raise UserError(
            f"no table {' or '.join(names)} in {folder}",
            f"{what}, as .txt, .csv or .sas7bdat",
            "put it there, or name its folder with --tables",
        )
    # The first name in the list, then text before SAS, then the shortest path.
    return min(found, key=lambda p: (wanted.index(p.stem.lower()), SUFFIXES.index(p.suffix.lower()), len(p.parts), p))


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
    grades: Mapping[str, int] | None = None,
) -> list[KneeRow]:
    """Read a table with one row per knee, or per patient with a column of grades for each side (KL_R, KL_L).

    `columns` are its column names by field, where they are not the field's own; `needed` are fields that must be there,
    such as "grade" or "patient or path".

    Raises:
        UserError: A column is missing, or cells say something else; they are named with their rows.
    """
    given = {field: name for field, name in (columns or {}).items() if name is not None}
    table = read_archive_table(path, list(given.values()))
    records = table.records
    names = {field: given.get(field, field).casefold() for field in FIELDS}
    header = [name.casefold() for name in table.header]
    if not {names["grade"], names["side"]} & set(header):
        records, more = _long(records, header, set(names.values()))
        header += more
    there = {field: name for field, name in names.items() if name in header}
    missing = [fields for fields in needed if not set(fields.split(" or ")) & set(there)]
    if missing:
        raise UserError(
            f"{path} without the column{'s' * (len(missing) > 1)} {', '.join(missing)}; it has "
            f"{some(table.header, 12)}",
            f"columns for {', '.join(needed)}",
            "name it with " + " and ".join(f"--{fields.split(' or ')[0]}-column" for fields in missing),
        )
    texts = ((where, {field: row[name] for field, name in there.items()}) for where, row in records)
    return make_rows(texts, str(path), grades)


def make_rows(
    texts: Iterable[tuple[str, Mapping[str, str]]], source: str, grades: Mapping[str, int] | None = None
) -> list[KneeRow]:
    """Rows from the text of the fields of each, with what to call it in a message.

    Raises:
        UserError: A grade, side or split cannot be read; all are named.
    """
    bad: dict[str, list[str]] = {}

    def read(field: str, text: str, where: str, reader: Callable[[str], T], missing: T) -> T:
        try:
            return reader(text)
        except UnreadableError:
            bad.setdefault(field, []).append(f"{text!r} in {where}")
            return missing

    rows = [
        KneeRow(
            where,
            path=text.get("path", "").strip(),
            patient=identifier(text.get("patient", "")),
            side=read("side", text.get("side", ""), where, read_side, ""),
            grade=read("grade", text.get("grade", ""), where, lambda cell: read_grade(cell, grades), None),
            split=read("split", text.get("split", ""), where, read_split, ""),
            site=read("site", text.get("site", ""), where, _plain_site, ""),
        )
        for where, text in texts
    ]
    if bad:
        cures = {
            "grade": "a grade from 0 to 4, or x, n/a, TKR or empty where it is missing; name others with --grades",
            "side": "R or L, right or left, 1 or 2",
            "split": "train, val or test",
            "site": "a name that does not begin with = or @",
        }
        raise UserError(
            f"{source}: " + "; ".join(f"{field} {some(cells)}" for field, cells in bad.items()),
            "; ".join(cures[field] for field in bad),
            "correct these cells",
        )
    return rows


def _plain_site(text: str) -> str:
    text = text.strip()
    if text.startswith(tables.FORMULA) and text != "-":
        raise UnreadableError(text)
    return text


def _long(records: _Records, header: Sequence[str], taken: Set[str]) -> tuple[_Records, list[str]]:
    """One row per knee, where a table has a column of grades for each side; and the columns that are new."""
    wide: dict[str, dict[str, str]] = {}
    for column in header:
        match = _WIDE.fullmatch(column)
        if match and match[1] and column not in taken:
            wide.setdefault(match[1], {})[read_side(match[2])] = column
    pairs = [sides for sides in wide.values() if len(sides) == 2]
    if len(pairs) != 1:
        return records, []
    long = [(where, {**row, "side": side, "grade": row[pairs[0][side]]}) for where, row in records for side in "RL"]
    return long, ["side", "grade"]
