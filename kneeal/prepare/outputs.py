"""What goes into the data set and beside it: rows of the manifest, patches, rejected.csv, the contact sheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kneeal.localizer.pose import KneePose
from kneeal.prepare.attempts import Attempt, PatientAttempts
from kneeal.prepare.contact_sheet import ContactSheetEntry
from kneeal.prepare.pool import Lost
from kneeal.prepare.store import ResultStore
from kneeal.prepare.tasks import RadiographTask, Rejection
from kneeal.prepare.work import RadiographResult, nothing

_REPLACED = "; another radiograph of the patient is used"
_UNUSED = {"R": "the right knee of this radiograph", "L": "the left knee of this radiograph"}


def collect(
    radiographs: Sequence[PatientAttempts], store: ResultStore, public: Mapping[str, str], *, hide: bool
) -> tuple[list[dict[str, Any]], list[Rejection], list[ContactSheetEntry]]:
    """Rows of the manifest, what was rejected, and the radiographs of the sheet, in the order of the plan."""
    rows: list[dict[str, Any]] = []
    rejections: list[Rejection] = []
    sheet: list[ContactSheetEntry] = []
    for tried in radiographs:
        patient = public[tried.chosen.work.task.patient]
        for done in tried.attempts:
            task, used = done.work.task, done is tried.chosen
            name = "" if hide else task.name
            load = partial(_loaded, store, done, "" if used or not tried.chosen.n_knees else _REPLACED)
            result = load()
            rejections += [Rejection(name, patient, side, reason, text) for side, reason, text in result.rejected]
            rows += [_row(patient, task, name, pose) for pose in result.poses]
            score = min((pose.score for pose in result.poses), default=0.0) - (1.0 if result.rejected else 0.0)
            sheet.append(
                ContactSheetEntry(
                    title=patient if hide else f"{patient} ({task.name})",
                    # Corrections go to the radiograph that is used, so that no other carries its knees' ids.
                    knee_ids={side: f"{patient}_{side}" for side in "RL"} if used else _UNUSED,
                    grades=dict(task.grades),
                    score=score,
                    load=load,
                )
            )
        rejections += [
            Rejection(
                "" if hide else task.name, patient, "", "duplicate", "another radiograph of the same patient is used"
            )
            for task in tried.untried
        ]
    return rows, rejections, sheet


def _row(patient: str, task: RadiographTask, name: str, pose: KneePose) -> dict[str, Any]:
    kl = task.grades[pose.side]
    return {
        "knee_id": f"{patient}_{pose.side}", "patient_id": patient, "side": pose.side, "site": task.site,
        "kl": "" if kl is None else kl, "path": name, "split": "", "x_mm": f"{pose.center_mm[0]:.2f}",
        "y_mm": f"{pose.center_mm[1]:.2f}", "angle_deg": f"{pose.angle_deg:.2f}", "score": f"{pose.score:.3f}",
    }  # fmt: skip


def _loaded(store: ResultStore, done: Attempt, remark: str) -> RadiographResult:
    lost = done.lost
    result = store.get(done.key) if lost is None else None
    if result is None:
        lost = lost or Lost("failed", "its result is gone from the work folder")
        result = nothing(lost.reason, lost.detail)
    return replace(result, rejected=tuple((side, reason, text + remark) for side, reason, text in result.rejected))


def patch_pairs(radiographs: Sequence[PatientAttempts], store: ResultStore) -> Iterator[NDArray[np.uint8]]:
    """The patch pairs, uint8 [2, 128, 128] each, in the order of the rows that `collect` gives."""
    for tried in radiographs:
        # The others gave no knee.
        yield from _loaded(store, tried.chosen, "").patches


def rejected_table(rejections: Sequence[Rejection]) -> str:
    """The text of rejected.csv."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["patient_id", "side", "path", "reason", "detail"])
    table.writerows([r.patient, r.side, r.name, r.reason, r.detail] for r in rejections)
    return text.getvalue()
