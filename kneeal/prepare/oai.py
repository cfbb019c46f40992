"""The Osteoarthritis Initiative: folder tree with its contents table, readings, enrollees."""

from collections import defaultdict
from pathlib import Path

from kneeal.errors import UserError, count, some
from kneeal.files import check_folder
from kneeal.prepare.paths import NamedFiles
from kneeal.prepare.tables import coded_grade, coded_number, find_table, identifier, read_rows
from kneeal.prepare.tasks import Plan, Rejection, radiograph_tasks

#: Codes of the visits with radiographs, and the number that their releases begin with (`0.C.2` is baseline).
VISITS = ("00", "01", "03", "05", "06", "08", "10")
SERIES = "bilateral pa fixed flexion knee"
#: Reading projects in the order in which they count; the others follow by number. 15 read all participants.
PROJECTS = (15.0, 37.0, 42.0)
_SIDES: dict[float | None, str] = {1.0: "R", 2.0: "L"}
_FILE = "001"


def plan_oai(source: Path, *, tables: Path | None = None, visit: str = "00", ungraded: bool = False) -> Plan:
    """Find the bilateral PA radiographs of a visit and their grades.

    `contents.csv` is in the source or a few levels below it, beside the release folders; the tables are in the source
    too, where no folder is given for them. Where several reading projects graded a knee, project 15 counts, else 37,
    else 42, else the lowest number, each if it gave a grade. Where a patient has several radiographs, the one whose
    barcode the readings name comes first, then the others by date.
    """
    if visit not in VISITS:
        raise UserError(f"--visit {visit}", ", ".join(VISITS), "00 is baseline")
    check_folder(source, "the archive's folder")
    tables = tables or source
    contents_path = find_table(source, ("contents", f"contents_{visit}", "contents_00m"), "the archive's contents")
    contents = read_rows(contents_path, ("Folder", "ParticipantID", "SeriesDescription"))
    readings_path = find_table(tables, (f"kxr_sq_bu{visit}",), "the central readings of the radiographs")
    readings = read_rows(readings_path, ("ID", "SIDE", "READPRJ", f"V{visit}XRKL"))
    enrollees = read_rows(find_table(tables, ("enrollees",), "the enrollees table, for the sites"), ("ID", "V00SITE"))
    sites = {identifier(row["id"]): _site(row["v00site"]) for row in enrollees}
    grades, barcodes, notes = _read_grades(readings, visit)
    radiographs = _radiographs(contents, visit, barcodes)
    if not set(radiographs) & set(grades):
        raise UserError(
            f"no patient of {contents_path.name} ({some(sorted(radiographs), 3)}) is in {readings_path.name} "
            f"({some(sorted(grades), 3)})",
            "the same patient ids in both",
            "check that both tables are of the same release",
        )
    present, rejected = _present(contents_path.parent, radiographs)
    tasks, more = radiograph_tasks(contents_path.parent, present, grades, sites, ungraded=ungraded)
    unmatched = sorted(set(grades) - set(radiographs))
    if unmatched:
        notes.append(f"{count(len(unmatched), 'graded patient')} without a radiograph in the contents table")
    without = sorted(task.patient for task in tasks if not task.site)
    if without:
        notes.append(
            f"{count(len(without), 'patient')} with a radiograph but not in the enrollees table: site left empty"
        )
    return Plan("oai", tasks, [*rejected, *more], notes)


def _read_grades(
    readings: list[dict[str, str]], visit: str
) -> tuple[dict[str, dict[str, int | None]], dict[str, set[float]], list[str]]:
    """Grades by patient and side, barcodes of the radiographs read by patient, and notes."""
    rows: dict[tuple[str, str], list[tuple[tuple[int, float], int | None]]] = defaultdict(list)
    barcodes: dict[str, set[float]] = defaultdict(set)
    invalid = 0
    for row in readings:
        side, patient = _SIDES.get(coded_number(row["side"])), identifier(row["id"])
        if side is None:
            invalid += 1
            continue
        project = coded_number(row["readprj"])
        known = project in PROJECTS
        rank = (PROJECTS.index(project) if known else len(PROJECTS), 1e9 if project is None else project)
        rows[patient, side].append((rank, coded_grade(row[f"v{visit}xrkl"])))
        barcode = coded_number(row.get(f"v{visit}barcdbu", ""))
        if barcode is not None:
            barcodes[patient].add(barcode)
    grades: dict[str, dict[str, int | None]] = defaultdict(dict)
    repeated = disagreeing = 0
    for (patient, side), found in rows.items():
        ranked = [kl for _, kl in sorted(found, key=lambda pair: pair[0]) if kl is not None]
        grades[patient][side] = ranked[0] if ranked else None
        repeated += len(found) > 1
        disagreeing += len(set(ranked)) > 1
    notes = []
    if repeated:
        notes.append(
            f"{count(repeated, 'knee')} graded by several reading projects, {disagreeing} of them differently: "
            "project 15 counts, else 37, else 42, else the lowest number"
        )
    if invalid:
        notes.append(f"{invalid} readings without a side of 1 (right) or 2 (left) are left out")
    return grades, barcodes, notes


def _radiographs(contents: list[dict[str, str]], visit: str, read: dict[str, set[float]]) -> dict[str, list[str]]:
    """Names of the radiographs of a visit by patient, the one whose barcode the readings name first, then by date."""
    found: dict[str, set[tuple[bool, str, str]]] = defaultdict(set)
    for row in contents:
        folder, patient = row["folder"].strip("/"), identifier(row["participantid"])
        release = folder.split(".", 1)[0]
        if row["seriesdescription"].lower() == SERIES and release.isdigit() and int(release) == int(visit):
            unread = patient in read and coded_number(row.get("barcode", "")) not in read[patient]
            found[patient].add((unread, row.get("studydate", ""), f"{folder}/{_FILE}"))
    if not found:
        raise UserError(
            f"no series 'Bilateral PA Fixed Flexion Knee' of visit {visit} in the contents table",
            f"folders whose release begins with {int(visit)}",
            "check the contents table, or give another --visit",
        )
    return {patient: [name for *_, name in sorted(found[patient])] for patient in sorted(found)}


def _present(root: Path, radiographs: dict[str, list[str]]) -> tuple[dict[str, list[str]], list[Rejection]]:
    """The names whose files are there, by patient in the order given; and those that are not."""
    files = NamedFiles(root)
    present: dict[str, list[str]] = defaultdict(list)
    rejected: list[Rejection] = []
    for patient, names in radiographs.items():
        for name in dict.fromkeys(names):
            path, reason = files.find(name)
            if path:
                present[patient].append(path)
            else:
                rejected.append(Rejection(name, patient, "", reason, "the contents table names no file of the archive"))
    return present, rejected


def _site(text: str) -> str:
    text = text.split(":", 1)[0].strip().upper()
    return text if len(text) == 1 and text in "ABCDE" else ""
