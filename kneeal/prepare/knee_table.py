"""Rows that say of a knee what is known: picture, patient, side, grade, split and site; from a table or from paths."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kneeal.errors import UserError
from kneeal.prepare.notation import UnreadableError, read_grade, read_side, read_split
from kneeal.prepare.tables import identifier, read_table
from kneeal.tables import some

T = TypeVar("T")
_Records = list[tuple[str, dict[str, str]]]

#: What a row may say.
FIELDS = ("path", "patient", "side", "grade", "split", "site")
_WIDE = re.compile(r"(.*?)[\s_.-]*(r|l|right|left|re|li)")


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
    table = read_table(path, list(given.values()))
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
            "site": "a name that is no formula",
        }
        raise UserError(
            f"{source}: " + "; ".join(f"{field} {some(cells)}" for field, cells in bad.items()),
            "; ".join(cures[field] for field in bad),
            "correct these cells",
        )
    return rows


def _plain_site(text: str) -> str:
    if text.startswith(("=", "@")):
        raise UnreadableError(text)
    return text.strip()


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
