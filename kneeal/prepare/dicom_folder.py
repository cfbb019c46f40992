"""Any folder or list of radiographs, with any table of grades."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pydicom

from kneeal.data.manifest import some
from kneeal.errors import UserError
from kneeal.prepare.candidates import find_radiographs, radiograph_tasks
from kneeal.prepare.paths import is_file, path_inside, walk_files
from kneeal.prepare.tables import grade, identifier, read_table
from kneeal.prepare.tasks import Plan, Rejection
from kneeal.radiograph.dicom import quiet_pydicom

_SIDES = {"l": "L", "left": "L", "2": "L", "r": "R", "right": "R", "1": "R"}


@dataclass(frozen=True)
class Columns:
    """Names of the columns of the table of grades.

    Attributes:
        patient: Patient id, as in the radiographs' headers.
        side: L or R, left or right, or 1 (right) and 2 (left).
        grade: KL grade, 0 to 4; may be missing.
        site: Acquisition site; may be missing.
        path: The radiograph's path below the folder; without it, radiographs are found by the patient id of their
            headers.
    """

    patient: str = "patient"
    side: str = "side"
    grade: str = "grade"
    site: str = "site"
    path: str | None = None


def plan_dicom(
    source: Path, *, table: Path | None = None, columns: Columns | None = None, ungraded: bool = False
) -> Plan:
    """Find radiographs in a folder, or in a text file that lists them, and their grades in a table.

    Args:
        source: A folder, or a text file with one path a line, relative to that file.
        table: One row per knee; without it, all knees of all radiographs are kept without a grade.
        columns: Its columns.
        ungraded: Whether knees that the table does not grade are kept.

    Raises:
        UserError: There is no radiograph, the table lacks a column, or the ids have nothing in common.
    """
    columns = columns or Columns()
    root, paths, rejected = _paths(source)
    wanted, sites, named = ({}, {}, {}) if table is None else _read(table, columns)
    if not named:
        named, more = _by_header(root, paths)
        rejected += more
        if table is not None and not set(named) & set(wanted):
            raise UserError(
                f"none of the patient ids {some(sorted(named), 3)} is in {table.name} ({some(sorted(wanted), 3)})",
                "the same ids in the headers and the table",
                "name the radiographs in the table and give --path-column",
            )
    radiographs, more = find_radiographs(root, named)
    tasks, ungraded_knees = radiograph_tasks(root, radiographs, wanted, sites, ungraded=ungraded or table is None)
    rejected += [*more, *ungraded_knees]
    lonely = len(set(wanted) - set(radiographs))
    return Plan("dicom", tasks, rejected, [f"{lonely} patients of the table have no radiograph"] if lonely else [])


def _paths(source: Path) -> tuple[Path, list[str], list[Rejection]]:
    rejected: list[Rejection] = []
    if source.is_dir():
        names = [path.relative_to(source).as_posix() for path in walk_files(source)]
        root = source
    elif source.is_file():
        root, names = source.parent, []
        for line in source.read_text(encoding="utf-8-sig").splitlines():
            name = line.strip()
            if not name:
                continue
            path = path_inside(root, name)
            if path is None or not is_file(path):
                reason = "outside" if path is None else "missing"
                rejected.append(Rejection(name, "", "", reason, "the list names a file that is not below its folder"))
            else:
                names.append(name)
    else:
        raise UserError(f"no {source}", "a folder of radiographs, or a list of them", "check the path")
    if not names and not rejected:
        raise UserError(f"no file in {source}", "radiographs", "check the path")
    return root, names, rejected


def _read(
    table: Path, columns: Columns
) -> tuple[dict[str, dict[str, int | None]], dict[str, str], dict[str, list[str]]]:
    needed = [columns.patient, columns.side, columns.grade, *([columns.path] if columns.path else [])]
    frame = read_table(table, needed)
    wanted: dict[str, dict[str, int | None]] = defaultdict(dict)
    sites: dict[str, str] = {}
    named: dict[str, list[str]] = defaultdict(list)
    odd = []
    for row in range(len(frame)):
        cells = frame.iloc[row]
        patient = identifier(cells[columns.patient.upper()])
        side = _SIDES.get(cells[columns.side.upper()].split(":")[0].strip().lower())
        kl = grade(cells[columns.grade.upper()])
        if not patient or side is None or wanted[patient].get(side, kl) != kl:
            odd.append(f"row {row + 2}")
            continue
        wanted[patient][side] = kl
        if columns.site.upper() in frame.columns:
            sites[patient] = cells[columns.site.upper()]
        if columns.path and cells[columns.path.upper()] not in named[patient]:
            named[patient].append(cells[columns.path.upper()])
    if odd:
        raise UserError(
            f"{table}: {some(odd)} without a patient or a side, or with a second grade of the same knee",
            "one row per knee, sides L and R",
            "correct these rows",
        )
    return dict(wanted), sites, dict(named)


def _by_header(root: Path, names: list[str]) -> tuple[dict[str, list[str]], list[Rejection]]:
    radiographs: dict[str, list[str]] = {}
    rejected = []
    for name in names:
        patient = _patient(root / name)
        if patient:
            radiographs.setdefault(patient, []).append(name)
        else:
            rejected.append(Rejection(name, "", "", "no_patient", "no patient id in a DICOM header"))
    return radiographs, rejected


def _patient(path: Path) -> str:
    try:
        with quiet_pydicom():
            header = pydicom.dcmread(path, specific_tags=["PatientID"], stop_before_pixels=True)
            return str(header.get("PatientID", "") or "").strip()
    except Exception:  # pydicom raises anything on what is not DICOM
        return ""
