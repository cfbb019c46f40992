"""Any folder or list of radiographs, with any table of grades."""

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from kneeal.data.manifest import folded_id, refuse_two_names
from kneeal.data.prepared import LEFTOVERS
from kneeal.errors import UserError, count, some
from kneeal.prepare.paths import NamedFiles, walk_files
from kneeal.prepare.summary import for_single_knees
from kneeal.prepare.tables import SUFFIXES, KneeRow, identifier, read_knee_table
from kneeal.prepare.tasks import Plan, Rejection, radiograph_tasks
from kneeal.radiograph import RadiographError
from kneeal.radiograph.dicom import read_patient_id
from kneeal.tables import decode


def plan_dicom(
    source: Path,
    *,
    table: Path | None = None,
    columns: Mapping[str, str | None] | None = None,
    grades: Mapping[str, int | None] | None = None,
    ungraded: bool = False,
) -> Plan:
    """Find radiographs in a folder, or in a text file with one path per line, and their grades in a table.

    Radiographs that the table names by path are those of its patient, else of their header's, else each is a patient's
    of its own. Where it names none, they are found by the patient id of their headers. Without a table, all knees are
    kept without a grade.
    """
    ungraded = ungraded or table is None
    root, paths, rejected = _paths(source)
    rows: Sequence[KneeRow] = ()
    if table is not None:
        rows = read_knee_table(
            table, columns, needed=("patient or path", *(() if ungraded else ("grade",))), grades=grades
        )
    by_path = any(row.path for row in rows)
    graded = {row.patient for row in rows if row.patient}
    radiographs: dict[str, list[str]] = defaultdict(list)
    if by_path:
        rows, more = _named_rows(root, rows)
        for row in rows:
            if row.path not in radiographs[row.patient]:
                radiographs[row.patient].append(row.path)
    else:
        radiographs, more = _by_header(root, paths)
        folded = {folded_id(patient) for patient in graded}
        alike = {patient for patient in radiographs if folded_id(patient) in folded}
        refuse_two_names(graded | alike, f"{table} with the headers")
        if table is not None and not set(radiographs) & graded:
            ids = some(sorted(radiographs), 3)
            found = f"none of the patient ids {ids}" if ids else "no patient id of a header"
            raise UserError(
                f"{found} is in {table.name} ({some(sorted(graded), 3)})",
                "the same ids in the headers and the table",
                "name the radiographs in the table and give --path-column, or the ids with --patient-column"
                + for_single_knees(paths),
            )
    known, own = _grades(rows, str(table), ungraded=ungraded)
    sites, splits = (_of_patients(rows, field, str(table)) for field in ("site", "split"))
    named: dict[str, set[str]] = defaultdict(set)
    lines: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        named[row.path].add(row.side)
        lines[row.path, row.patient].append(row.where)
    tasks, without_grade = radiograph_tasks(
        root, radiographs, known, sites, splits=splits, ungraded=ungraded, named=named, own=own
    )
    unmatched = len(graded - set(radiographs))
    notes = [f"{count(unmatched, 'patient')} of the table without a radiograph"] if unmatched else []
    others = {path for path in paths if not path.lower().endswith(SUFFIXES)} - {row.path for row in rows}
    if by_path and others:
        notes.append(f"{count(len(others), 'file')} of the folder not named in the table")
    return Plan("dicom", tasks, [*rejected, *more, *without_grade], notes, lines)


def _paths(source: Path) -> tuple[Path, list[str], list[Rejection]]:
    """The folder of the radiographs, their paths below it, and what a list names in vain."""
    if source.is_dir():
        errors: list[OSError] = []
        paths = (path for path in walk_files(source, errors.append) if path.name not in LEFTOVERS)
        names = [path.relative_to(source).as_posix() for path in paths]
        if not names:
            raise UserError(f"no file in {source}", "radiographs", "check the path")
        closed = [(Path(error.filename).relative_to(source).as_posix(), error.strerror) for error in errors]
        rejected = [Rejection(name, "", "", "unreadable", f"the folder cannot be read: {why}") for name, why in closed]
        return source, names, rejected
    expected = "a folder of radiographs, or a text file with one path per line"
    if not source.is_file():
        raise UserError(f"no folder or list {source}", expected, "check the path")
    text, root = decode(source.read_bytes()), source.parent
    if not text or not text.strip():
        raise UserError(f"{source} is not a list of files", expected, f"give the folder of the radiographs, {root}")
    files = NamedFiles(root)
    found = {name: files.find(name) for name in map(str.strip, text.splitlines()) if name}
    rejected = [
        Rejection(name, "", "", reason, "the list names no regular file below its folder")
        for name, (path, reason) in found.items()
        if not path
    ]
    return root, list(dict.fromkeys(path for path, _ in found.values() if path)), rejected


def _named_rows(root: Path, rows: Sequence[KneeRow]) -> tuple[list[KneeRow], list[Rejection]]:
    """The rows with the patient of each, where a row names none; and those of which no file is there."""
    files = NamedFiles(root)
    named, rejected = [], []
    for row in rows:
        path, reason = files.find(row.path)
        if not path:
            detail = f"the table names no regular file below the folder ({row.where})"
            rejected.append(Rejection(row.path, row.patient, "", reason, detail))
            continue
        patient = row.patient
        if not patient:
            with contextlib.suppress(RadiographError):  # reported when it is read
                patient = identifier(read_patient_id(root / path))
        patient = patient or PurePosixPath(path).with_suffix("").as_posix().replace("/", "-")
        named.append(replace(row, path=path, patient=patient))
    return named, list(dict.fromkeys(rejected))  # a line with a grade for each side gives two rows


def _grades(
    rows: Sequence[KneeRow], table: str, *, ungraded: bool
) -> tuple[dict[str, dict[str, int | None]], dict[str, int | None]]:
    """Grades by patient and side, and by path those of the one knee on a radiograph."""
    grades: dict[str, dict[str, int | None]] = defaultdict(dict)
    own: dict[str, int | None] = {}
    invalid = []
    sided = {row.path for row in rows if row.side}
    for row in rows:
        if row.patient and not row.side and row.grade is None and (ungraded or not row.path):
            continue  # it says no more than whose radiograph it is
        if row.path and row.patient and not row.side:
            if own.setdefault(row.path, row.grade) != row.grade or row.path in sided:
                invalid.append(row.where)
        else:
            if not row.patient or grades[row.patient].get(row.side, row.grade) != row.grade:
                invalid.append(row.where)
            grades[row.patient].setdefault(row.side, row.grade)
    mixed = [patient for patient, sides in grades.items() if "" in sides and len(sides) > 1]
    if invalid or mixed:
        raise UserError(
            f"{table}: {some(invalid or mixed)} without a patient or a side, or with a second grade of the same knee",
            "one row per knee, sides L and R",
            "correct these rows",
        )
    return dict(grades), own


def _of_patients(rows: Sequence[KneeRow], field: str, table: str) -> dict[str, str]:
    """What the rows of each patient say of a field, where they say something."""
    found: dict[str, str] = {}
    known = [(row, value) for row in rows if (value := getattr(row, field))]
    invalid = [row.where for row, value in known if found.setdefault(row.patient, value) != value]
    if invalid:
        repeated = f"{table}: a second {field} of the same patient in {some(invalid)}"
        raise UserError(repeated, f"one {field} for all knees of a patient", "correct these rows")
    return found


def _by_header(root: Path, names: list[str]) -> tuple[dict[str, list[str]], list[Rejection]]:
    radiographs: dict[str, list[str]] = defaultdict(list)
    rejected = []
    for name in names:
        try:
            patient = identifier(read_patient_id(root / name))
        except RadiographError as error:
            rejected.append(Rejection(name, "", "", error.reason, f"{error.found}; {error.cure}"))
            continue
        if patient:
            radiographs[patient].append(name)
        else:
            rejected.append(Rejection(name, "", "", "no_patient", "no patient id in a DICOM header"))
    return radiographs, rejected
