"""A plan becomes a prepared data set: in parallel, resumable, the same bytes whatever the number of processes."""

import hashlib
import hmac
import math
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.resources import as_file, files
from itertools import combinations, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd

from kneeal.data.manifest import refuse_two_names
from kneeal.data.prepared import file_checksum, refuse_occupied, write_leftovers, write_prepared
from kneeal.errors import UserError, some
from kneeal.localizer import WEIGHTS
from kneeal.localizer.landmarks import LandmarkSource
from kneeal.prepare.attempts import Attempt, settled, try_radiographs
from kneeal.prepare.outputs import SHEET, collect, patch_pairs, write_contact_sheet, write_rejected
from kneeal.prepare.summary import ArchiveSummary, nothing_usable
from kneeal.prepare.tasks import Correction, Plan, RadiographTask, Rejection
from kneeal.prepare.work import PrepareOptions, RadiographResult, ResultStore, make_worker
from kneeal.prepare.workers import Lost, WorkerPool
from kneeal.tables import FORMULA

#: A radiograph takes well under a second; a process that needs this long for one hangs.
TIMEOUT_S = 60.0
_MIN_KEY_BYTES = 16
#: Nearer centers are of one knee: half the width of a plateau.
_ONE_KNEE_MM = 40.0
_ID = re.compile(r'(?! )[^,"/\\]+(?<! )')
_BAD_ID = 'the patient id begins with = + - or @, or holds , " / \\ or what cannot be printed'


def prepare_archive(
    plan: Plan,
    out: Path,
    options: PrepareOptions,
    *,
    workers: int = 1,
    work: Path | None = None,
    landmarks: LandmarkSource | None = None,
    corrections: Mapping[str, Correction] | None = None,
    key: bytes | None = None,
    progress: Callable[[int], None] | None = None,
) -> ArchiveSummary:
    """Prepare a data set; until it is whole, it is not there.

    Args:
        plan: What a source found.
        out: The data set's folder.
        options: How each radiograph is prepared.
        workers: Processes; 0: in this one.
        work: Where finished radiographs are kept; by default beside the data set, and removed at the end.
        landmarks: Where the knees are, in place of the localizer.
        corrections: What a person says about knees, by their ids in the data set.
        key: Turns patient ids into pseudonyms.
        progress: Called with 1 after each radiograph.
    """
    refuse_occupied(out)
    plan, corrections = _with_landmarks(plan, landmarks), corrections or {}
    if key is None:
        plan = _without_bad_ids(plan)
    published_ids = {task.patient: pseudonym(key, task.patient) if key else task.patient for task in plan.tasks}
    refuse_two_names(published_ids, f"the source {plan.source}")
    knees = [{side: f"{published_ids[task.patient]}_{side}" for side in "RL"} for task in plan.tasks]
    tasks = [
        replace(task, corrections={side: corrections[k] for side, k in ids.items() if k in corrections})
        for task, ids in zip(plan.tasks, knees, strict=True)
    ]
    unknown = sorted(set(corrections) - {k for ids in knees for k in ids.values()})
    if unknown:
        raise UserError(
            f"--corrections names {some(unknown)}", "knee ids of this archive, as in the sheet", "correct the table"
        )
    folder = work or out.parent / f".{out.name}.work"
    with as_file(files("kneeal.localizer").joinpath(WEIGHTS)) as shipped:
        weights = file_checksum(shipped)
    store = ResultStore(folder, options, weights)
    make = partial(make_worker, options, landmarks is None)
    with WorkerPool(make, workers=workers, timeout_s=TIMEOUT_S) as pool:
        attempt = partial(_process, store=store, pool=pool)
        # A person's mistake is told before the other radiographs are read.
        corrected = try_radiographs([task for task in tasks if task.corrections], attempt)
        _refuse_corrections(corrections, *collect(corrected, store, published_ids, {}, hide=False)[:2])
        patients = try_radiographs(tasks, partial(attempt, progress=progress))
    rows, rejections, sheet, notes = collect(patients, store, published_ids, plan.lines, hide=key is not None)
    early = plan.rejected
    if key is not None:
        early = [replace(rejection, name="", patient=pseudonym(key, rejection.patient)) for rejection in early]
    rejections = [*early, *rejections]
    summary = ArchiveSummary(
        plan.source,
        Counter((str(row["site"]), row["kl"] if row["kl"] != "" else None) for row in rows),
        Counter(rejection.reason for rejection in rejections),
        sum(len(tried.attempts) for tried in patients),
        (*plan.notes, *notes),
    )

    def write_reports(target: Path) -> None:
        write_rejected(target, rejections)
        write_contact_sheet(target / SHEET, sheet, f"{out.name}: knees found ({plan.source})")

    if not rows:
        write_leftovers(out, write_reports)
        raise nothing_usable(summary, rejections, options, out=out, kept=folder)
    # No path of this machine, and nothing that the number of processes changes.
    recorded = {
        "mm_per_px": options.read.mm_per_px,
        "magnification": options.read.magnification,
        "apply_voi": options.read.apply_voi,
        "markers": options.select.markers,
        "least_score": options.select.min_score,
        "keep_other": options.select.keep_other,
        "side": options.select.side,
        "localizer": "landmarks" if landmarks is not None else weights,
        "corrections": len(corrections),
        "pseudonymized": key is not None,
    }
    write_prepared(
        out,
        pd.DataFrame(rows),
        patch_pairs(patients, store),
        source=plan.source,
        options=recorded,
        more=write_reports,
    )
    if work is None:
        shutil.rmtree(folder, ignore_errors=True)
    return summary


def read_key(path: Path) -> bytes:
    """The key of the pseudonyms: the content of a file, 16 bytes or more without blanks around it."""
    cure = f"make one that nobody can guess: head -c 32 /dev/urandom | base64 > {path}; keep it apart from the data"
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise UserError(f"--pseudonymize {path}: {error.strerror}", "a file with a key", cure) from error
    if len(key) < _MIN_KEY_BYTES:
        raise UserError(f"--pseudonymize {path}: {len(key)} bytes", f"{_MIN_KEY_BYTES} bytes or more", cure)
    return key


def pseudonym(key: bytes, patient: str) -> str:
    """The first 64 bits of the HMAC-SHA256 of a patient id: without the key, nobody can try ids out."""
    return "P" + hmac.new(key, patient.encode(), hashlib.sha256).hexdigest()[:16] if patient else ""


def _process(
    radiographs: Sequence[RadiographTask],
    *,
    store: ResultStore,
    pool: WorkerPool[RadiographTask, RadiographResult],
    progress: Callable[[int], None] | None = None,
) -> list[Attempt]:
    """Work on what the store lacks; what was lost is not kept, so that another start tries it again."""
    keys = [store.key(radiograph) for radiograph in radiographs]
    attempts: dict[int, Attempt] = {}

    def finish(k: int, result: RadiographResult | Lost) -> None:
        if isinstance(result, Lost):
            done = Attempt(radiographs[k], keys[k], lost=result)
        else:
            sides = tuple(pose.side for pose in result.poses)
            done = Attempt(radiographs[k], keys[k], sides, single=result.single, readable=result.readable)
        attempts[k] = done
        # A patient counts once, however many radiographs it takes, and not again for what a person says of its knees.
        if progress is not None and settled([done]) and not (done.task.corrections and done.task.alternatives):
            progress(1)

    for k, key in enumerate(keys):
        if (kept := store.get(key)) is not None:
            finish(k, kept)
    todo = [k for k in range(len(keys)) if k not in attempts]
    alone = [replace(radiographs[k], alternatives=()) for k in todo]
    for position, result in pool.run(alone):
        if not isinstance(result, Lost):
            store.put(keys[todo[position]], result)
        finish(todo[position], result)
    return [attempts[k] for k in range(len(keys))]


def _refuse_corrections(
    corrections: Mapping[str, Correction], rows: Sequence[Mapping[str, Any]], rejections: Sequence[Rejection]
) -> None:
    """Refuse corrections that give no knee, or put one where another one of the same radiograph is."""
    path, given = itemgetter("path"), {row["knee_id"] for row in rows}
    reasons = {f"{r.patient}_{side}": r.detail for r in rejections for side in r.side or "RL"}
    invalid = [
        f"{said.where}: {knee} cannot be used ({reasons.get(knee, 'its radiograph gives no such knee')})"
        for knee, said in corrections.items()
        if not said.reject and knee not in given
    ]
    for _, knees in groupby(sorted(rows, key=path), path):
        for pair in combinations(knees, 2):
            said = [corrections[row["knee_id"]] for row in pair if row["knee_id"] in corrections]
            apart = math.dist(*([float(row["x_mm"]), float(row["y_mm"])] for row in pair))
            if apart < _ONE_KNEE_MM and any(correction.center_mm for correction in said):
                where = " and ".join(correction.where for correction in said)
                invalid.append(f"{where}: {' and '.join(row['knee_id'] for row in pair)} are in one place")
    if invalid:
        expected = f"knees on their radiographs, at least {_ONE_KNEE_MM:g} mm from each other"
        raise UserError(f"--corrections, {some(invalid)}", expected, "correct or remove these rows")


def _with_landmarks(plan: Plan, landmarks: LandmarkSource | None) -> Plan:
    if landmarks is None:
        return plan
    tasks = [
        replace(
            task,
            marked=landmarks.find(task.name, task.patient),
            # Marks that name the patient alone belong to one radiograph of theirs: the first.
            alternatives=tuple(replace(other, marked=landmarks.find(other.name, "")) for other in task.alternatives),
        )
        for task in plan.tasks
    ]
    if tasks and not any(radiograph.marked for task in tasks for radiograph in (task, *task.alternatives)):
        raise UserError(
            f"the landmark file marks none of the {len(tasks)} radiographs, for example {tasks[0].name}",
            "radiographs by path or patient id",
            "check that it belongs to this archive",
        )
    return replace(plan, tasks=tasks)


def _without_bad_ids(plan: Plan) -> Plan:
    good, rejected = [], list(plan.rejected)
    for task in plan.tasks:
        if task.patient.isprintable() and _ID.fullmatch(task.patient) and not task.patient.startswith(FORMULA):
            good.append(task)
        else:
            rejected.append(Rejection(task.name, task.patient, "", "bad_id", _BAD_ID))
    return replace(plan, tasks=good, rejected=rejected)
