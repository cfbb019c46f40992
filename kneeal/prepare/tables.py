"""Tables of archives: text with any common separator, or SAS7BDAT; every value as text."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from kneeal.data.manifest import some
from kneeal.errors import UserError

SUFFIXES = (".txt", ".csv", ".tsv", ".sas7bdat")
_SEPARATORS = "|\t;,"
_NUMBER = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*(?::.*)?", re.DOTALL)
_DEPTH = 5


def read_table(path: Path, needed: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table; its columns in capitals, its values as text, missing ones empty.

    Args:
        path: `.sas7bdat`, or text separated by `|`, tab, `;` or `,` (the header's most frequent one).
        needed: Columns that must be there.

    Raises:
        UserError: It cannot be read, or a column is missing.
    """
    try:
        frame = _read_sas(path) if path.suffix.lower() == ".sas7bdat" else _read_text(path)
    except (OSError, ValueError, csv.Error, EOFError, KeyError, IndexError) as error:
        raise UserError(
            f"{path} cannot be read as a table ({error})", "text with a header, or SAS7BDAT", "fetch the file again"
        ) from error
    frame.columns = pd.Index([str(name).strip().upper() for name in frame.columns])
    missing = [name for name in needed if name.upper() not in frame.columns]
    if missing:
        raise UserError(
            f"{path} without the column{'s' * (len(missing) > 1)} {', '.join(missing)}; it has "
            f"{some(map(str, frame.columns), 12)}",
            f"the columns {', '.join(needed)}",
            "check that this is the right table",
        )
    return frame.loc[:, ~frame.columns.duplicated()]


def find_table(folder: Path, names: Sequence[str], what: str) -> Path:
    """The table of one of these names (without suffix, case does not count) in a folder or a few levels below it.

    Raises:
        UserError: There is none.
    """
    wanted = [name.lower() for name in names]
    found = [
        path for path in _walk(folder) if path.suffix.lower() in SUFFIXES and path.stem.lower() in wanted
    ]  # fmt: skip
    if not found:
        raise UserError(
            f"no table {' or '.join(names)} in {folder}",
            f"{what}, as .txt, .csv or .sas7bdat",
            "put it there, or name its folder with --tables",
        )
    # The first name in the list, then text before SAS, then the shortest path.
    return min(found, key=lambda p: (wanted.index(p.stem.lower()), SUFFIXES.index(p.suffix.lower()), len(p.parts), p))


def number(text: str) -> float | None:
    """The number of a value such as `2`, `2.0`, `1: Right`; None for `.: Missing Form` and the like."""
    match = _NUMBER.fullmatch(text)
    return float(match.group(1)) if match else None


def grade(text: str) -> int | None:
    """A KL grade from 0 to 4, None for anything else (missing, 1.9, 8 for a replacement)."""
    value = number(text)
    return int(value) if value is not None and value in (0, 1, 2, 3, 4) else None


def identifier(text: str) -> str:
    """A patient id as text: SAS holds whole numbers as 9000099.0."""
    text = text.strip()
    return text[:-2] if re.fullmatch(r"\d+\.0", text) else text


def _read_sas(path: Path) -> pd.DataFrame:
    frame = pd.read_sas(path, format="sas7bdat", encoding="latin-1")
    return frame.astype(object).where(frame.notna(), "").map(_plain)


def _plain(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _read_text(path: Path) -> pd.DataFrame:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    header = text.split("\n", 1)[0]
    separator = max(_SEPARATORS, key=header.count)
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator) if any(cell.strip() for cell in row)]
    if not rows:
        raise ValueError("it is empty")
    width = len(rows[0])
    ragged = [n + 2 for n, row in enumerate(rows[1:]) if len(row) != width]
    if ragged:
        raise ValueError(f"row {some(map(str, ragged))} has not {width} cells as the header")
    return pd.DataFrame([[cell.strip() for cell in row] for row in rows[1:]], columns=rows[0], dtype=object)


def _walk(folder: Path) -> Iterator[Path]:
    """Files at most a few levels deep: an archive's image folders are deeper. Links to folders are not followed."""
    for parent, folders, files in os.walk(folder):
        if len(Path(parent).relative_to(folder).parts) >= _DEPTH - 1:
            folders.clear()
        folders.sort()
        yield from (Path(parent) / name for name in sorted(files))
