"""The Multicenter Osteoarthritis Study: enrolment and X-ray tables, PA views."""

from pathlib import Path

from kneeal.errors import UserError
from kneeal.files import check_folder
from kneeal.prepare.paths import walk_files
from kneeal.prepare.tables import coded_grade, find_table, identifier, read_rows
from kneeal.prepare.tasks import Plan, radiograph_tasks

#: Visits with knee radiographs: baseline, 15, 30, 60 and 84 months.
VISITS = ("0", "1", "2", "3", "5")
_SITES = {"B": "B", "I": "I"}  # MB...: Birmingham, MI...: Iowa


def plan_most(
    source: Path, *, tables: Path | None = None, visit: str = "0", view: str = "PA10", ungraded: bool = False
) -> Plan:
    """Find the PA radiographs of a visit and their grades.

    The radiographs lie in `<MOSTID...>/.../V<visit>.../.../<view>/<file>`: the first folder begins with the patient's
    MOSTID, one of the folders names the visit (`V0`, `V0AB`, ...), and the radiograph's own folder begins with the
    view.
    """
    if visit not in VISITS:
        raise UserError(f"--visit {visit}", ", ".join(VISITS), "0 is baseline")
    check_folder(source, "the archive's folder")
    tables = tables or source
    columns = {"R": f"V{visit}XRKL", "L": f"V{visit}XLKL"}
    readings = read_rows(find_table(tables, ("mostv01235xray",), "the X-ray readings"), ("MOSTID", *columns.values()))
    enrol = read_rows(find_table(tables, (f"mostv{visit}enroll", "mostv0enroll"), "the enrolment table"), ("MOSTID",))
    sites = {identifier(row["mostid"]): row.get("site", "") for row in enrol}
    grades = {
        identifier(row["mostid"]): {side: coded_grade(row[column.lower()]) for side, column in columns.items()}
        for row in readings
    }
    patients = set(sites) & set(grades)
    radiographs = _radiographs(source, patients, visit, view)
    if not radiographs:
        raise UserError(
            f"no radiograph of visit {visit}, view {view}, of an enrolled and graded patient in {source}",
            "<MOSTID...>/V<visit>.../.../<view>/<file>",
            "check the folder, --visit and --view",
        )
    places = {patient: sites[patient] or _SITES.get(patient[1:2].upper(), "") for patient in radiographs}
    tasks, rejected = radiograph_tasks(source, radiographs, grades, places, ungraded=ungraded)
    unmatched = len(patients) - len(radiographs)
    return Plan(
        "most", tasks, rejected, [f"{unmatched} enrolled patients have no such radiograph"] if unmatched else []
    )


def _radiographs(source: Path, patients: set[str], visit: str, view: str) -> dict[str, list[str]]:
    """Names of radiographs by patient, of whose id their first folder is or begins with."""
    radiographs: dict[str, list[str]] = {}
    for path in walk_files(source):
        name = path.relative_to(source)
        parts = name.parts
        if len(parts) < 3 or not parts[-2].upper().startswith(view.upper()):
            continue
        if not any(part.upper().startswith(f"V{visit}") for part in parts[1:-1]):
            continue
        owner = next((parts[0][:n] for n in range(len(parts[0]), 0, -1) if parts[0][:n] in patients), None)
        if owner is not None:
            radiographs.setdefault(owner, []).append(name.as_posix())
    return radiographs
