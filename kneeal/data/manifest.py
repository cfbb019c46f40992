"""manifest.csv: one row per knee, checked before anything is done with it."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from kneeal.data.grades import GRADE_TEXTS, N_GRADES
from kneeal.errors import UserError, some
from kneeal.tables import FORMULA, missing_columns, read_table

COLUMNS = ("knee_id", "patient_id", "side", "site", "kl", "path", "split")
SPLITS = ("", "train", "val", "test")


@dataclass(frozen=True, eq=False)
class Manifest:
    """The knees of a data set."""

    frame: pd.DataFrame  #: The table, all values as text: the columns `COLUMNS` and any others that the file has.

    def __len__(self) -> int:
        return len(self.frame)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Knee ids in the order of the table, which is the order of patches.npy."""
        return tuple(self.frame["knee_id"])

    @cached_property
    def kl(self) -> dict[str, int]:
        """Knee id to KL grade, for the knees whose grade is known."""
        grades = zip(self.ids, self.frame["kl"], strict=True)
        return {i: grade for i, text in grades if (grade := GRADE_TEXTS.get(text)) is not None}

    @cached_property
    def patients(self) -> dict[str, str]:
        """Knee id to patient id."""
        return self.column("patient_id")

    def column(self, name: str) -> dict[str, str]:
        """Knee id to what a column holds, empty where that is unknown, as a site or split may be."""
        return dict(zip(self.ids, self.frame[name], strict=True))


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        UserError: It is missing, malformed or contradictory; the message names the rows.
    """
    table = read_table(path, own=True)
    frame = pd.DataFrame(list(table.rows), columns=list(table.header), dtype=object)
    return check_manifest(frame, str(path), places=table.places)


def check_manifest(frame: pd.DataFrame, where: str, *, places: Sequence[str] | None = None) -> Manifest:
    """A manifest from a table with the columns `COLUMNS`; values become text, missing ones empty text.

    Messages call the table `where`, and its rows `places`, by default lines of a CSV file.
    """
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        cure = "add them (kl, site, path and split may be empty); cells are separated by commas"
        raise missing_columns(where, missing, map(str, frame.columns), f"the columns {', '.join(COLUMNS)}", cure)
    if frame.empty:
        raise UserError(f"{where} without a single knee", "one row per knee", "prepare the data set again")
    frame = frame.astype(object).where(frame.notna(), "").astype(str).reset_index(drop=True)
    # Line 1 is the header.
    names = [f"line {row + 2}" for row in range(len(frame))] if places is None else places

    def refuse(column: str, bad: "pd.Series[bool]", expected: str) -> None:
        found = [f"{frame.at[row, column]!r} in {names[row]}" for row in frame.index[bad]]
        if found:
            parts = "patient or side, or keep one row of each knee" if column == "knee_id" else column
            raise UserError(f"{where}: {column} {some(found)}", expected, f"correct the {parts}")

    for column in ("knee_id", "patient_id"):
        bad = frame[column].str.strip().ne(frame[column]) | frame[column].eq("") | ~frame[column].map(str.isprintable)
        bad |= frame[column].str.startswith(FORMULA)
        refuse(column, bad, f"a {column} of printable characters, no blanks around it, no = + - @ at its start")
    unsafe = frame["knee_id"].str.contains(r'[,"/\\]', regex=True)
    grades = f"a whole KL grade from 0 to {N_GRADES - 1}, or nothing"
    refuse("knee_id", unsafe, 'a knee_id without , " / \\')
    refuse("knee_id", frame["knee_id"].duplicated(keep=False), "each knee once, by patient and side")
    refuse("side", ~frame["side"].isin(["L", "R"]), "a side of L or R")
    refuse("kl", ~frame["kl"].isin(["", *GRADE_TEXTS]), grades)
    refuse("split", ~frame["split"].isin(SPLITS), "a split of train, val or test, or nothing")
    refuse_two_names(frame["patient_id"].unique(), where, dict(zip(frame["patient_id"], names, strict=True)))
    manifest = Manifest(frame)
    given = {knee: split for knee, split in manifest.column("split").items() if split}
    refuse_patients_in_two(given, manifest.patients, where)
    return manifest


def refuse_patients_in_two(splits: Mapping[str, str], patients: Mapping[str, str], where: str) -> None:
    """Refuse splits, by knee id, of which two hold knees of one patient."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for knee, split in splits.items():
        found[patients[knee]].add(split)
    in_two = [patient for patient, names in found.items() if len(names) > 1]
    if in_two:
        raise UserError(
            f"{where} has patients in two splits: {some(in_two)}",
            "all knees of a patient at one site and in one split, or the test result would be too good",
            "correct the columns site and split",
        )


def folded_id(patient: str) -> str:
    """A patient id without what programs change in ids: case, leading zeros, a trailing .0, forms of characters."""
    plain = re.sub(r"^(\d+)\.0*$", r"\1", unicodedata.normalize("NFKC", patient).casefold())
    return plain.lstrip("0") if plain.isdecimal() else plain


def refuse_two_names(patients: Iterable[str], where: str, places: Mapping[str, str] | None = None) -> None:
    """Refuse ids that differ only in case, leading zeros, a trailing .0 or the form of their characters."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for patient in patients:
        names[folded_id(patient)].add(f"{patient} in {places[patient]}" if places else patient)
    twice = [" = ".join(sorted(same)) for same in names.values() if len(same) > 1]
    if twice:
        raise UserError(
            f"{where} has patients under two names: {some(twice)}",
            "one patient_id for each patient, or knees of one person get into two splits",
            "write the ids alike, or make them differ by more than case, zeros or the form of a character",
        )
