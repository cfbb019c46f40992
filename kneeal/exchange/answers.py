"""Answers from a file, checked row by row before any of them is taken."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kneeal.data.grades import N_GRADES
from kneeal.errors import UserError

#: Columns of a sheet of answers; others are ignored.
KNEE, GRADE, UNREADABLE, PICTURE = "knee_id", "kl", "unreadable", "picture"
_GRADES = {form: grade for grade in range(N_GRADES) for form in (str(grade), f"{grade}.0")}
_NO = {"", "0", "no", "false", "n"}


@dataclass(frozen=True)
class AnswerRow:
    """One row.

    Attributes:
        knee_id: The knee.
        kl: Its grade, None if it cannot be graded.
        place: Where it stands, for messages.
        reason: Why it cannot be graded.
    """

    knee_id: str
    kl: int | None
    place: str
    reason: str = ""


def read_answers(path: Path) -> dict[str, int | None]:
    """Answers by knee id from CSV, XLSX or Label Studio JSON; unanswered rows are left out.

    Args:
        path: A sheet with the columns `knee_id`, `kl` and, optionally, `unreadable` (a reason), or an export of
            Label Studio, full or JSON-MIN.

    Returns:
        Knee id to grade, None for a knee that cannot be graded.

    Raises:
        UserError: The file is no such file or was cut off, a grade is no grade, or a knee has two different answers.
    """
    if not path.is_file():
        raise UserError(f"no file {path}", "a file of answers: CSV, XLSX or Label Studio JSON", "check the path")
    kind = path.suffix.lower()
    reader = {".json": _from_label_studio, ".xlsx": _from_xlsx}.get(kind, _from_csv)
    answers = list(reader(path))
    _refuse_contradictions(path, answers)
    return {answer.knee_id: answer.kl for answer in answers}


def _from_csv(path: Path) -> Iterator[AnswerRow]:
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    if text and not text.endswith(("\n", "\r")):
        # The only trace that a copy broke off: the last row may have lost a cell or half its grade.
        raise UserError(
            f"{path} ends in the middle of line {text.count(chr(10)) + 1}",
            "a whole file, its last line ended by a line break",
            "copy or save it again; if it is whole, add a line break at its end",
        )
    delimiter = ";" if text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",") else ","
    reader = csv.reader(text.splitlines(), strict=True, delimiter=delimiter)
    try:
        rows = [(f"line {reader.line_num}", row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise _unreadable(path, error) from error
    return _from_rows(path, rows)


def _from_xlsx(path: Path) -> Iterator[AnswerRow]:
    openpyxl = load_openpyxl()
    try:
        sheet = openpyxl.load_workbook(path, read_only=True, data_only=True).worksheets[0]
        rows = [
            (f"row {number}", ["" if cell is None else str(cell) for cell in row])
            for number, row in enumerate(sheet.iter_rows(values_only=True), 1)
        ]
    except Exception as error:  # openpyxl raises what zipfile and its XML parser raise
        raise _unreadable(path, error) from error
    return _from_rows(path, [(place, row) for place, row in rows if any(cell.strip() for cell in row)])


def _from_rows(path: Path, rows: Sequence[tuple[str, Sequence[str]]]) -> Iterator[AnswerRow]:
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    missing = [column for column in (KNEE, GRADE) if column not in header]
    if missing:
        raise UserError(
            f"{path} without the column {', '.join(missing)}",
            f"the columns {KNEE} and {GRADE}, and {UNREADABLE} where it is needed",
            "fill in the sheet that `kneeal ask` wrote",
        )
    for place, row in rows[1:]:
        if len(row) != len(header):
            raise UserError(
                f"{path}: {place} has {len(row)} cells",
                f"{len(header)} cells, as in the first",
                "complete that row, or copy the file again: it may have been cut off",
            )
        cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
        answer = _answer(path, place, cells[KNEE], cells[GRADE], cells.get(UNREADABLE, ""))
        if answer is not None:
            yield answer


def _from_label_studio(path: Path) -> Iterator[AnswerRow]:
    try:
        tasks = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise UserError(f"{path} holds no list of tasks", "an export of Label Studio as JSON", "export it again")
    for number, task in enumerate(tasks, 1):
        place = f"task {number}"
        data = task.get("data", task)
        knee = str(data.get(KNEE, "")) if isinstance(data, dict) else ""
        for choice in _choices(path, place, task):
            answer = _answer(path, place, knee, *(("", choice) if choice.startswith("unreadable") else (choice, "")))
            if answer is not None:
                yield answer


def _choices(path: Path, place: str, task: dict[str, Any]) -> Iterable[str]:
    if "annotations" not in task:  # JSON-MIN: the choice beside the data
        return [str(task.get(GRADE, ""))]
    found: list[str] = []
    try:
        for annotation in task["annotations"]:
            if not annotation.get("was_cancelled"):
                for result in annotation["result"]:
                    if result.get("from_name") == GRADE:
                        found += map(str, result["value"]["choices"])
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: the annotations of {place} cannot be read ({error!r})",
            f"annotations by the labelling interface that `kneeal ask` wrote, with choices called {GRADE}",
            "export the project again as JSON",
        ) from error
    return found


def _answer(path: Path, place: str, knee: str, grade: str, unreadable: str) -> AnswerRow | None:
    if not knee:
        raise UserError(f"{path}: {place} names no knee", f"a {KNEE} in each row", "restore it from the query's sheet")
    said_unreadable = unreadable.lower() not in _NO
    if grade and said_unreadable:
        raise UserError(
            f"{path}: {place} calls knee {knee} unreadable ({unreadable}) and gives it grade {grade}",
            "a grade, or a reason why there is none",
            "empty one of the two cells",
        )
    if said_unreadable:
        return AnswerRow(knee, None, place, unreadable)
    if not grade:
        return None
    if grade not in _GRADES:
        raise UserError(
            f"{path}: grade {grade!r} for knee {knee} in {place}",
            f"a whole grade from 0 to {N_GRADES - 1}",
            "correct that answer, or empty the cell to leave it open",
        )
    return AnswerRow(knee, _GRADES[grade], place)


def _refuse_contradictions(path: Path, answers: Sequence[AnswerRow]) -> None:
    first: dict[str, AnswerRow] = {}
    for answer in answers:
        other = first.setdefault(answer.knee_id, answer)
        if other.kl != answer.kl:
            said = ["unreadable" if a.kl is None else f"grade {a.kl}" for a in (other, answer)]
            raise UserError(
                f"{path}: two answers for knee {answer.knee_id}, {said[0]} in {other.place} and {said[1]} in "
                f"{answer.place}",
                "one answer a knee",
                "decide which holds and remove the other",
            )


def load_openpyxl() -> Any:
    """The optional package for spreadsheets.

    Raises:
        UserError: It is not installed.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise UserError(
            "no openpyxl to read or write a spreadsheet with",
            "the extra kneeal[annotate]",
            "install it, or save the sheet as CSV",
        ) from error
    return openpyxl


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} cannot be read ({error})", "a whole CSV, XLSX or Label Studio JSON file", "save or export it again"
    )
