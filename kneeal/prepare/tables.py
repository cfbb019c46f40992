"""Tables of archives: what `kneeal.tables` reads, or SAS7BDAT; every value as text."""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from kneeal import tables
from kneeal.errors import UserError
from kneeal.prepare.paths import walk_files

SUFFIXES = (".txt", ".csv", ".tsv", ".sas7bdat", ".xlsx")
_NUMBER = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*(?::.*)?", re.DOTALL)
#: Levels of folders in which tables are looked for: an archive's image folders are deeper.
_DEPTH = 5


def read_table(path: Path, needed: Sequence[str] = ()) -> tables.Table:
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
    return [row for _, row in read_table(path, needed).records]


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


def number(text: str) -> float | None:
    """The number of a value such as `2`, `2.0`, `1: Right`; None for `.: Missing Form` and the like."""
    match = _NUMBER.fullmatch(text)
    return float(match.group(1)) if match else None


def grade(text: str) -> int | None:
    """A KL grade from 0 to 4, None for anything else (missing, 1.9, 8 for a replacement)."""
    value = number(text)
    return int(value) if value is not None and value in (0, 1, 2, 3, 4) else None


def identifier(text: str) -> str:
    """A patient id as text, accents composed and digits plain; SAS holds whole numbers as 9000099.0."""
    text = unicodedata.normalize("NFKC", text).strip()
    return text[:-2] if re.fullmatch(r"\d+\.0", text) else text
