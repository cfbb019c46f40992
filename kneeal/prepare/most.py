"""The Multicenter Osteoarthritis Study: enrolment and X-ray tables, PA views."""

from pathlib import Path

from kneeal.errors import UserError
from kneeal.prepare.candidates import find_radiographs, radiograph_tasks
from kneeal.prepare.paths import walk_files
from kneeal.prepare.tables import find_table, grade, identifier, read_table
from kneeal.prepare.tasks import Plan

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
    if not source.is_dir():
        raise UserError(f"no folder {source}", "the archive's folder", "check the path")
    tables = tables or source
    columns = {"R": f"V{visit}XRKL", "L": f"V{visit}XLKL"}
    readings = read_table(find_table(tables, ("mostv01235xray",), "the X-ray readings"), ("MOSTID", *columns.values()))
    enrol = read_table(find_table(tables, (f"mostv{visit}enroll", "mostv0enroll"), "the enrolment table"), ("MOSTID",))
    enrolled = {identifier(i) for i in enrol["MOSTID"]}
    sites = dict(zip(map(identifier, enrol["MOSTID"]), enrol["SITE"], strict=True)) if "SITE" in enrol.columns else {}
    grades = {
        identifier(patient): {"R": grade(right), "L": grade(left)}
        for patient, right, left in zip(readings["MOSTID"], readings[columns["R"]], readings[columns["L"]], strict=True)
    }
    radiographs = _radiographs(source, sorted(enrolled & set(grades), key=len, reverse=True), visit, view)
    if not radiographs:
        raise UserError(
            f"no radiograph of visit {visit}, view {view}, of an enrolled and graded patient in {source}",
            "<MOSTID...>/V<visit>.../.../<view>/<file>",
            "check the folder, --visit and --view",
        )
    names = {patient: [path.relative_to(source).as_posix() for path in paths] for patient, paths in radiographs.items()}
    places = {
        patient: sites.get(patient, "").strip() or _SITES.get(patient[1:2].upper(), "") for patient in radiographs
    }
    present, rejected = find_radiographs(source, names)
    tasks, more = radiograph_tasks(source, present, grades, places, ungraded=ungraded)
    lonely = len(enrolled & set(grades)) - len(radiographs)
    return Plan(
        "most", tasks, [*rejected, *more], [f"{lonely} enrolled patients have no such radiograph"] if lonely else []
    )


def _radiographs(source: Path, patients: list[str], visit: str, view: str) -> dict[str, list[Path]]:
    by_prefix: dict[int, set[str]] = {}
    for patient in patients:
        by_prefix.setdefault(len(patient), set()).add(patient)
    radiographs: dict[str, list[Path]] = {}
    for path in walk_files(source):
        parts = path.relative_to(source).parts
        if len(parts) < 3 or not parts[-2].upper().startswith(view.upper()):
            continue
        if not any(part.upper().startswith(f"V{visit}") for part in parts[1:-1]):
            continue
        owner = next((parts[0][:n] for n in sorted(by_prefix, reverse=True) if parts[0][:n] in by_prefix[n]), None)
        if owner is not None:
            radiographs.setdefault(owner, []).append(path)
    return radiographs
