"""A query as files for a spreadsheet or Label Studio, and the answers in them, all checked before any is taken."""

import base64
import io
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kneeal.data.grades import GRADE_TEXTS, N_GRADES
from kneeal.errors import UserError, readable
from kneeal.exchange.pictures import Pictures, to_png
from kneeal.files import write_atomic
from kneeal.loop.query import Query
from kneeal.prepare.notation import UnreadableError, read_grade
from kneeal.tables import csv_text, load_openpyxl, read_table

#: Columns of a sheet of answers; others are ignored.
KNEE, GRADE, UNREADABLE, PICTURE = "knee_id", "kl", "unreadable", "picture"
#: Why a knee cannot be graded; the same list in the sheet, in Label Studio and on the page.
UNREADABLE_REASONS = ("poor image quality", "wrong position", "implant or hardware", "not a knee", "other")
#: File of a run with the reasons that were given, by knee.
REASONS_FILE = "unreadable.csv"
_NO = {"", "0", "no", "false", "n"}
#: Finds the name of a knee in that of its picture.
_SHOWN = re.compile(r"pictures/\d+-(.+)\.png$").search
#: Problems that one message names.
_MAX_NAMED = 20


@dataclass(frozen=True)
class Answers:
    """What a file of answers says."""

    grades: dict[str, int | None]  #: Knee id to grade, None for a knee that cannot be graded.
    reasons: dict[str, str]  #: Why, for these.


def read_answers(path: Path, *, as_written: bool = False) -> Answers:
    """Answers from CSV, XLSX or Label Studio JSON; rows without one are left out.

    Args:
        path: A sheet with the columns `knee_id`, `kl` and, optionally, `unreadable` (a reason) and `picture`, or an
            export of Label Studio, full or JSON-MIN.
        as_written: Also read grades such as `II`, `KL 2`, `2+` and `2,0`.

    Raises:
        UserError: The file is of another kind or was cut off, or some of its answers cannot be taken: a value that is
            not a grade from 0 to 4, an unknown reason, two answers to one knee, a knee beside another's picture. The
            first 20 are named.
    """
    if not path.is_file():
        raise UserError(f"no file {path}", "a file of answers: CSV, XLSX or Label Studio JSON", "check the path")
    pictured: dict[str, str] = {}
    if path.suffix.lower() == ".json":
        cells = _label_studio(path)
    else:
        rows = read_table(path, (KNEE, GRADE), whole=True).records
        cells = [(place, row[KNEE], row[GRADE], row.get(UNREADABLE, "")) for place, row in rows]
        pictured = {place: found[1] for place, row in rows if (found := _SHOWN(row.get(PICTURE, "")))}
    problems: list[UserError] = []
    answers, places = Answers({}, {}), dict[str, str]()
    for place, knee, grade, unreadable in cells:
        try:
            answer = _answer(place, knee, grade, unreadable, as_written=as_written)
            if answer is None:
                continue
            if (shown := pictured.get(place, _file_name(knee))) != _file_name(knee):
                raise UserError(
                    f"knee {knee} beside the picture of {shown} in {place}",
                    "each knee in the row of its picture, as in the sheet of the query",
                    "one column was sorted alone: enter the grades into the query's sheet again, and sort whole rows",
                )
            kl = answer if isinstance(answer, int) else None
            if (first := answers.grades.setdefault(knee, kl)) != kl:
                one, other = ("unreadable" if k is None else f"grade {k}" for k in (first, kl))
                raise UserError(
                    f"two answers for knee {knee}, {one} in {places[knee]} and {other} in {place}",
                    "one answer per knee",
                    "keep the one that counts and remove the other",
                )
            places.setdefault(knee, place)
            if isinstance(answer, str):
                answers.reasons.setdefault(knee, answer)
        except UserError as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0].within(str(path))
    if problems:  # one message for all; nothing of the file is taken
        named = [problem.found for problem in problems[:_MAX_NAMED]]
        if len(problems) > _MAX_NAMED:
            named.append(f"and {len(problems) - _MAX_NAMED} more")
        expected, cures = (list(dict.fromkeys(getattr(p, part) for p in problems)) for part in ("expected", "cure"))
        raise UserError(
            f"{path}: {len(problems)} answers cannot be taken, so none was\n    " + "\n    ".join(named),
            "; ".join(expected[:4]),
            "; ".join(cures[:4]),
        )
    return answers


def read_reasons(run: Path) -> dict[str, str]:
    """The reasons that were given in a run so far, by knee."""
    path = run / REASONS_FILE
    return {row[KNEE]: row[UNREADABLE] for _, row in read_table(path).records} if path.is_file() else {}


def add_reasons(run: Path, reasons: Mapping[str, str]) -> None:
    """Keep reasons with those that were given before."""
    if reasons:
        write_atomic(run / REASONS_FILE, csv_text([(KNEE, UNREADABLE), *(read_reasons(run) | dict(reasons)).items()]))


def _label_studio(path: Path) -> list[tuple[str, str, str, str]]:
    with readable(path, "a whole export of Label Studio as JSON", "export it again"):
        tasks = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise ValueError("it is not a list of tasks")
    cells, ours = [], False
    for number, task in enumerate(tasks, 1):
        place = f"task {number}"
        data = task.get("data", task)
        knee = str(data.get(KNEE, "")) if isinstance(data, dict) else ""
        try:
            if "annotations" in task:
                kept = [annotation for annotation in task["annotations"] if not annotation.get("was_cancelled")]
                results = [result for annotation in kept for result in annotation["result"]]
                values = [result["value"] for result in results if result.get("from_name") == GRADE]
                choices = [str(choice) for value in values for choice in value["choices"]]
                of_others = bool(results) and not values
            else:  # JSON-MIN: the choice beside the data
                choices, of_others = [str(task.get(GRADE, ""))], False
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: the annotations of {place} cannot be read ({error!r})",
                f"annotations by the labeling interface that `kneeal ask` wrote, with choices called {GRADE}",
                "export the project again as JSON",
            ) from error
        ours = ours or (isinstance(data, dict) and KNEE in data and not of_others)
        for choice in choices:
            kind, _, reason = choice.partition(": ")
            cells.append((place, knee, "", reason or "other") if kind == UNREADABLE else (place, knee, choice, ""))
    if not ours:
        raise UserError(
            f"{path}: an export of {len(tasks)} tasks in which nothing answers a query",
            f"tasks with {KNEE} in their data, and choices of a control called {GRADE} (in JSON-MIN: a key {GRADE})",
            "import the tasks and the labeling interface that `kneeal ask` wrote, and export that project as JSON",
        )
    return cells


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object that repeats no key: of two, the last would silently win."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _answer(place: str, knee: str, grade: str, unreadable: str, *, as_written: bool) -> int | str | None:
    """The grade of a knee, or why it cannot be graded; None where neither is given."""
    if not knee:
        raise UserError(f"{place} names no knee", f"a {KNEE} in each row", "restore it from the sheet of the query")
    if unreadable.lower() not in _NO:
        if grade:
            raise UserError(
                f"{place} calls knee {knee} unreadable ({unreadable}) and gives it grade {grade}",
                "a grade, or a reason why the knee cannot be graded",
                "empty one of the two cells",
            )
        first, _, words = unreadable.partition(":")
        if first.strip().lower() == "other" and words.strip():
            return f"other: {words.strip()}"
        if unreadable.lower() in UNREADABLE_REASONS:
            return unreadable.lower()
        raise UserError(
            f"the reason {unreadable!r} for knee {knee} in {place}",
            f"one of {', '.join(UNREADABLE_REASONS)}, or your own words after `other: `",
            f"write `other: {unreadable}` if that is why the knee cannot be graded; empty the cell if it can",
        )
    if not grade:
        return None
    written = None
    with suppress(UnreadableError):
        written = read_grade(grade.removesuffix("+"))
    kl = GRADE_TEXTS.get(grade, written if as_written else None)
    if kl is None:
        raise UserError(
            f"grade {grade!r} for knee {knee} in {place}",
            f"a whole grade from 0 to {N_GRADES - 1}",
            "correct that answer, empty the cell to leave it open"
            + ("" if written is None else ", or give --as-written to `kneeal tell`"),
        )
    return kl


def write_query(
    folder: Path,
    query: Query,
    pictures: Pictures,
    answers: Mapping[str, int | None],
    reasons: Mapping[str, str],
    *,
    xlsx: bool = False,
) -> list[Path]:
    """Write the sheet, the pictures and Label Studio's files, with what is answered already.

    An existing sheet is never overwritten: somebody may be filling it in.

    Returns:
        The files: the sheet first, then the spreadsheet, if asked for, Label Studio's tasks and its interface.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # grades and pictures, for nobody else on this machine
    rows, tasks = [[KNEE, PICTURE, GRADE, UNREADABLE]], []
    for number, knee in enumerate(query.ids, 1):
        picture, png = f"pictures/{number:03d}-{_file_name(knee)}.png", to_png(pictures[knee].pixels)
        write_atomic(folder / picture, png)
        kl = answers.get(knee)
        reason = reasons.get(knee, "other") if knee in answers and kl is None else ""
        rows.append([knee, picture, "" if kl is None else str(kl), reason])
        if knee not in answers:
            data_url = "data:image/png;base64," + base64.b64encode(png).decode()
            tasks.append({"data": {KNEE: knee, "image": data_url}})
    sheet = _sheet_for(folder, query)
    sheets = {sheet: csv_text(rows).encode()} | ({sheet.with_suffix(".xlsx"): _xlsx(rows)} if xlsx else {})
    for path, content in sheets.items():
        if not path.exists():
            write_atomic(path, content)
    others = folder / "label_studio_tasks.json", folder / "label_studio_interface.xml"
    write_atomic(others[0], json.dumps(tasks) + "\n")
    write_atomic(others[1], _interface())
    return [*sheets, *others]


def _file_name(knee: str) -> str:
    """A knee id as a file name that stays in its folder and that every file system takes."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", knee)[:100]


def _sheet_for(folder: Path, query: Query) -> Path:
    """The query's sheet; another name where a sheet of other knees is there, as after a query of unreadable ones."""
    path, number = folder / "answers.csv", 1
    while path.exists():
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        if {line.partition(",")[0].strip('"') for line in text.splitlines()[1:]} == set(query.ids):
            break
        number += 1
        path = folder / f"answers-{number}.csv"
    return path


def _interface() -> str:
    choices = "".join(f'    <Choice value="{grade}" hotkey="{grade}"/>\n' for grade in range(N_GRADES))
    choices += "".join(f'    <Choice value="unreadable: {reason}"/>\n' for reason in UNREADABLE_REASONS)
    return f"""<View>
  <Image name="image" value="$image" zoom="true" zoomControl="true" brightnessControl="true" contrastControl="true"/>
  <Header value="Kellgren-Lawrence grade"/>
  <Choices name="{GRADE}" toName="image" choice="single" required="true">
{choices}  </Choices>
</View>
"""


def _xlsx(rows: list[list[str]]) -> bytes:
    openpyxl = load_openpyxl()
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "answers"
    for row in rows:
        sheet.append(row)
        # A knee id such as `=1+1` must not become a formula.
        for cell in sheet[sheet.max_row]:
            cell.data_type = "s"
    rule = openpyxl.worksheet.datavalidation.DataValidation
    grades = rule(type="whole", operator="between", formula1="0", formula2=str(N_GRADES - 1), allow_blank=True)
    # A list to choose from; the reader's own words after `other: ` may be typed instead.
    reasons = rule(type="list", formula1=f'"{",".join(UNREADABLE_REASONS)}"', allow_blank=True, showErrorMessage=False)
    for column, validation in (("C", grades), ("D", reasons)):
        sheet.add_data_validation(validation)
        validation.add(f"{column}2:{column}{len(rows)}")
    sheet.freeze_panes = "A2"
    for column, width in zip("ABCD", (20, 32, 6, 22), strict=True):
        sheet.column_dimensions[column].width = width
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()
