"""What goes into the data set and beside it: rows of the manifest, patches, rejected.csv, the contact sheet."""

import base64
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from numpy.typing import NDArray

from kneeal.data.prepared import LEFTOVERS
from kneeal.errors import count, some
from kneeal.localizer.pose import KneePose
from kneeal.prepare.attempts import PatientAttempts
from kneeal.prepare.sameness import fingerprint, same_knees, tell_same
from kneeal.prepare.tables import KneeRow
from kneeal.prepare.tasks import RadiographTask, Rejection
from kneeal.prepare.work import RadiographResult, ResultStore, nothing, patches_jpeg
from kneeal.prepare.workers import Lost
from kneeal.tables import FORMULA, csv_text

REJECTED, SHEET = LEFTOVERS
_REPLACED = "; another radiograph of the patient is used"
_NOT_NEEDED = "another radiograph of the same patient is used"
_UNUSED = {"R": "the right knee of this radiograph", "L": "the left knee of this radiograph"}
#: Most radiographs on the sheet: what a browser shows without delay.
MAX_ENTRIES = 2000


@dataclass(frozen=True)
class ContactSheetEntry:
    """One radiograph of the contact sheet."""

    title: str  #: What it is called.
    knee_ids: dict[str, str]  #: Side to knee id.
    grades: dict[str, int | None]  #: Side to KL grade; None where it is not known.
    score: float  #: Lowest score of its knees; below 0 where something of it was rejected.
    load: Callable[[], RadiographResult]  #: Gives its result, so that not all need be in memory.


def collect(
    patients: Sequence[PatientAttempts],
    store: ResultStore,
    published_ids: Mapping[str, str],
    lines: Mapping[tuple[str, str], Sequence[str]],
    *,
    hide: bool,
) -> tuple[list[dict[str, Any]], list[Rejection], list[ContactSheetEntry], list[str]]:
    """What comes of the radiographs, in the order of the plan; `lines` as in `Plan`; `hide` leaves out their paths.

    Returns:
        Rows of the manifest, what was rejected, the entries of the contact sheet, and what the user should know.
    """
    rows: list[dict[str, Any]] = []
    rejections: list[Rejection] = []
    sheet: list[ContactSheetEntry] = []
    radiographs: defaultdict[str, list[KneeRow]] = defaultdict(list)
    knees: list[KneeRow] = []
    prints: list[NDArray[np.float16]] = []
    places: list[tuple[Callable[[], RadiographResult], int]] = []
    notes: defaultdict[str, list[str]] = defaultdict(list)
    for tried in patients:
        patient = published_ids[tried.attempts[0].task.patient]
        for position, done in enumerate(tried.attempts):
            task, used = done.task, position in tried.used
            name = "" if hide else task.name
            title = patient if hide else f"{patient} ({task.name})"
            load = partial(_loaded, store, tried, position)
            result = load()
            rejections += [Rejection(name, patient, side, reason, text) for side, reason, text in result.rejected]
            grades = {pose.side: task.grades.get(pose.side, task.grades.get("")) for pose in result.poses}
            rows += [_row(patient, task, name, pose, grades[pose.side]) for pose in result.poses]
            for note in result.notes:
                notes[note].append(title)
            said = lines.get((task.name, task.patient)) or lines.get(("", task.patient), ())
            where = ", ".join(filter(None, (name, *dict.fromkeys(said))))
            where = f"{patient} ({where})" if where else patient
            if result.checksum:
                radiographs[result.checksum].append(KneeRow(where, patient=patient, split=task.split))
            for k, (side, grade) in enumerate(grades.items()):
                graded = side if grade is None else f"{side} KL {grade}"
                knees.append(KneeRow(f"{where}, {graded}", where, patient, side, grade, task.split))
                prints.append(fingerprint(result.patches[k]))
                places.append((load, k))
            score = min((pose.score for pose in result.poses), default=0.0) - (1.0 if result.rejected else 0.0)
            # Corrections go to the radiographs that are used, so that no other carries its knees' ids.
            ids = {side: f"{patient}_{side}" for side in "RL"} if used else _UNUSED
            sheet.append(ContactSheetEntry(title, ids, grades, score, load))
        rejections += [
            Rejection("" if hide else task.name, patient, "", "duplicate", _NOT_NEEDED)
            for task in tried.attempts[-1].task.alternatives
        ]
    noted = [f"{count(len(titles), 'radiograph')}: {note}: {some(titles, 3)}" for note, titles in notes.items()]
    groups = same_knees(prints, lambda k: places[k][0]().patches[places[k][1]])
    twice = [[knees[k] for k in group] for group in groups]
    told = {knee.path for group in twice for knee in group}
    # One picture whose right knee is said to be of one patient and the left one of another.
    shared = [
        group
        for group in radiographs.values()
        if len({row.patient for row in group}) > 1 and {row.where for row in group} - told
    ]
    for what, found in (("knee", twice), ("radiograph", shared)):
        if found:
            noted.append(f"{count(len(found), what)} given for several patients or both sides {tell_same(found)}")
    return rows, rejections, sheet, noted


def _row(patient: str, task: RadiographTask, name: str, pose: KneePose, kl: int | None) -> dict[str, Any]:
    return {
        "knee_id": f"{patient}_{pose.side}", "patient_id": patient, "side": pose.side, "site": task.site,
        "kl": "" if kl is None else kl, "path": formula_safe(name), "split": task.split,
        "x_mm": f"{pose.center_mm[0]:.2f}", "y_mm": f"{pose.center_mm[1]:.2f}", "angle_deg": f"{pose.angle_deg:.2f}",
        "score": f"{pose.score:.3f}",
    }  # fmt: skip


def formula_safe(path: str) -> str:
    """The path, written so that no spreadsheet takes it for a formula."""
    return f"./{path}" if path.startswith(FORMULA) else path


def _loaded(store: ResultStore, tried: PatientAttempts, position: int) -> RadiographResult:
    """The result of a radiograph, with the knees that another one gave already among those that are not used."""
    done = tried.attempts[position]
    lost = done.lost or Lost("failed", "its result is gone from the work folder")
    result = (None if done.lost else store.get(done.key)) or nothing(lost.reason, lost.detail)
    remark = _REPLACED if position not in tried.used and any(other.sides for other in tried.attempts) else ""
    kept = tried.new_sides(position) if position in tried.used else ()
    chosen = [k for k, pose in enumerate(result.poses) if pose.side in kept]
    twice = [pose for pose in result.poses if pose.side not in kept]
    return replace(
        result,
        poses=tuple(result.poses[k] for k in chosen),
        patches=result.patches[chosen],
        unused=(*result.unused, *twice),
        rejected=(
            *((side, reason, text + remark) for side, reason, text in result.rejected),
            *((pose.side, "duplicate", _NOT_NEEDED) for pose in twice),
        ),
    )


def patch_pairs(patients: Sequence[PatientAttempts], store: ResultStore) -> Iterator[NDArray[np.uint8]]:
    """The patch pairs, uint8 [2, 128, 128] each, in the order of the rows that `collect` gives."""
    for tried in patients:
        for position in tried.used:
            yield from _loaded(store, tried, position).patches


def write_rejected(folder: Path, rejections: Sequence[Rejection]) -> None:
    """Write rejected.csv; cells that a spreadsheet would take for a formula begin with an apostrophe."""
    rows = [("patient_id", "side", "path", "reason", "detail")]
    rows += [(r.patient, r.side, r.name, r.reason, r.detail) for r in rejections]
    text = csv_text([f"'{cell}" if cell.startswith(FORMULA) else cell for cell in row] for row in rows)
    (folder / REJECTED).write_text(text, encoding="utf-8", newline="")


def write_contact_sheet(path: Path, entries: Sequence[ContactSheetEntry], heading: str) -> None:
    """Write sheet.html, worst first, one file that needs no other; beyond `MAX_ENTRIES` the best are left out."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["jpeg"] = patches_jpeg
    environment.filters["data_url"] = lambda jpeg: "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
    template = environment.from_string(files("kneeal.prepare").joinpath("contact_sheet.html").read_text("utf-8"))
    ranked = sorted(entries, key=lambda entry: (entry.score, entry.title))[:MAX_ENTRIES]
    stream = template.stream(
        heading=heading,
        total=len(entries),
        left_out=len(entries) - len(ranked),
        entries=((entry, entry.load()) for entry in ranked),
    )
    stream.dump(str(path), encoding="utf-8")
