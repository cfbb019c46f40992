"""What is to be done: radiographs, the knees that they should give, what the tables reject already, what a person says.

The rules are the same for every source.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kneeal.errors import UserError, some
from kneeal.localizer.landmarks import MarkedKnee
from kneeal.prepare.tables import read_archive_table
from kneeal.tables import finite

#: Legs that lie further on their side are none that the localizer knows.
MAX_ANGLE_DEG = 45
_YES, _NO = ("1", "yes", "true", "x", "reject"), ("", "0", "no", "false")


@dataclass(frozen=True)
class RadiographTask:
    """One radiograph."""

    path: Path  #: The file.
    name: str  #: How it is called in the archive: its path there, with `/`.
    patient: str  #: Patient id of the tables. Becomes a pseudonym before anything is written, where that is asked for.
    #: Side ("L", "R") to KL grade of the knees that this radiograph should give; None where it is not known. The side
    #: is empty for the one knee of this radiograph, whichever it is.
    grades: Mapping[str, int | None]
    site: str = ""  #: Acquisition site or empty.
    split: str = ""  #: "train", "val", "test" or empty.
    side: str = ""  #: Side of the knee, where the tables say that the radiograph is of one.
    #: Where the knees are, from a landmark or box file; None: the localizer looks.
    marked: tuple[MarkedKnee, ...] | None = None
    #: Other radiographs of the same knees, in the order in which they are tried where this one gives no knee.
    alternatives: tuple[RadiographTask, ...] = ()
    #: What a person says about its knees, by side.
    corrections: Mapping[str, Correction] = field(default_factory=dict)


@dataclass(frozen=True)
class Correction:
    """What a person says about a knee."""

    reject: bool  #: Leave it out.
    #: Center of its plateau, mm from the radiograph's upper left corner; None: where the localizer saw it.
    center_mm: tuple[float, float] | None = None
    angle_deg: float | None = None  #: Angle of the plateau; None: as the localizer saw it.
    where: str = ""  #: What to call its row in a message.


@dataclass(frozen=True)
class Rejection:
    """Something rejected."""

    name: str  #: The radiograph in the archive or empty.
    patient: str  #: Patient id.
    side: str  #: "L", "R", or "" for a whole radiograph.
    reason: str  #: A code, one word.
    detail: str  #: A sentence.


@dataclass(frozen=True)
class Plan:
    """What a source found."""

    source: str  #: Name of the source.
    tasks: Sequence[RadiographTask]  #: Radiographs, in the order of the data set, one per patient.
    rejected: Sequence[Rejection] = ()  #: What the tables rejected already.
    notes: Sequence[str] = field(default_factory=list)  #: Decisions that the user should know.
    #: Rows of the table, by the name of the radiograph, empty where the table has none, and the patient.
    lines: Mapping[tuple[str, str], list[str]] = field(default_factory=dict)


def radiograph_tasks(
    root: Path,
    radiographs: Mapping[str, Sequence[str]],
    grades: Mapping[str, Mapping[str, int | None]],
    sites: Mapping[str, str],
    *,
    ungraded: bool,
    splits: Mapping[str, str] | None = None,
    named: Mapping[str, Collection[str]] | None = None,
    own: Mapping[str, int | None] | None = None,
) -> tuple[list[RadiographTask], list[Rejection]]:
    """One task per patient, sorted by patient, the first radiograph with the others as alternatives; and rejections.

    The side of a grade is empty for the one knee of a radiograph, whichever it is; `own` has such grades by the name of
    the radiograph, and `named` the sides of the knees for which the table names it.
    """
    own, named, splits = own or {}, named or {}, splits or {}
    tasks: list[RadiographTask] = []
    rejected: list[Rejection] = []
    for patient, names in sorted(radiographs.items()):
        known = grades.get(patient, {})
        shared = [name for name in names if name not in own]
        if "" in known and len(shared) > 1:
            text = "the table gives one grade for several radiographs, and does not say of which knee"
            rejected += [Rejection(name, patient, "", "side_unknown", text) for name in shared]
            shared = []
        # Beside a radiograph with a grade of its own, only the knees that the table names are missed.
        asked = sorted(known) if "" in known or len(shared) < len(names) else ["R", "L"]
        asked = asked if shared else []
        shared_grades = {side: known.get(side) for side in asked if ungraded or known.get(side) is not None}
        ungradable = [(name, "") for name in names if name in own and own[name] is None and not ungraded]
        rejected += [
            Rejection(name, patient, side, "no_grade", "the tables hold no grade from 0 to 4 of this knee")
            for name, side in [*((shared[0], side) for side in asked if side not in shared_grades), *ungradable]
        ]
        tasks_of_patient = []
        elsewhere = {side for name in names for side in named.get(name, ())}
        for name in names:
            here = named.get(name, ())
            # A grade that the table gives to another radiograph may be of another day.
            asked_here = {side: grade for side, grade in shared_grades.items() if side in here or side not in elsewhere}
            if name in own:
                asked_here = {"": own[name]} if ungraded or own[name] is not None else {}
            if asked_here:
                place = sites.get(patient, ""), splits.get(patient, "")
                only = next(iter(here)) if len(here) == 1 else ""
                task = RadiographTask(root / name, name, patient, asked_here, *place, only)
                tasks_of_patient.append(task)
        if tasks_of_patient:
            first, *others = tasks_of_patient
            tasks.append(replace(first, alternatives=tuple(others)))
    return tasks, rejected


def read_corrections(path: Path) -> dict[str, Correction]:
    """Corrections by knee id.

    The table has the columns knee_id, x_mm, y_mm, angle_deg and reject. A row with nothing but a knee id accepts the
    knee as it was found, whatever the localizer's doubts.
    """
    corrections: dict[str, Correction] = {}
    invalid = []
    for where, row in read_archive_table(path, ("knee_id", "x_mm", "y_mm", "angle_deg", "reject")).records:
        knee, reject = row["knee_id"], row["reject"].lower()
        numbers = {name: finite(row[name].replace(",", ".")) for name in ("x_mm", "y_mm", "angle_deg")}
        x, y, angle = numbers.values()
        wrong = [name for name, value in numbers.items() if row[name] and value is None]
        wrong += ["knee_id"] * (not knee or knee in corrections) + ["x_mm", "y_mm"] * ((x is None) != (y is None))
        wrong += ["angle_deg"] * (abs(angle or 0) > MAX_ANGLE_DEG) + ["reject"] * (reject not in (*_YES, *_NO))
        invalid += [f"{where} ({name} {row[name]!r})" for name in dict.fromkeys(wrong)]
        corrections[knee] = Correction(reject in _YES, None if x is None or y is None else (x, y), angle, where)
    if invalid:
        raise UserError(
            f"{path}: {some(invalid)} cannot be understood",
            f"each knee once; x_mm and y_mm both or neither, numbers; angle_deg from -{MAX_ANGLE_DEG} to "
            f"{MAX_ANGLE_DEG}; reject yes or empty",
            "correct these rows",
        )
    return corrections
