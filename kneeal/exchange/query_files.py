"""A query as files that a person can answer in a spreadsheet or in Label Studio."""

import base64
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path

from kneeal.data.grades import N_GRADES
from kneeal.exchange.answers import GRADE, KNEE, PICTURE, REASONS, UNREADABLE
from kneeal.exchange.pictures import Pictures, to_png
from kneeal.files import write_atomic
from kneeal.loop.query import Query
from kneeal.tables import csv_text, load_openpyxl


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

    A sheet that is there is never written over: somebody may be filling it in.

    Returns:
        The files: the sheet first, then the spreadsheet, if wanted, Label Studio's tasks and its interface.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # grades and pictures, for nobody else on this machine
    rows, tasks = [[KNEE, PICTURE, GRADE, UNREADABLE]], []
    for number, knee in enumerate(query.ids, 1):
        # A knee id as a file name that stays in its folder and that every file system takes.
        name, png = re.sub(r"[^A-Za-z0-9_.-]", "-", knee)[:100], to_png(pictures[knee].pixels)
        picture = f"pictures/{number:03d}-{name}.png"
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
    choices += "".join(f'    <Choice value="unreadable: {reason}"/>\n' for reason in REASONS)
    return (
        "<View>\n"
        '  <Image name="image" value="$image" zoom="true" zoomControl="true" brightnessControl="true" '
        'contrastControl="true"/>\n'
        '  <Header value="Kellgren-Lawrence grade"/>\n'
        f'  <Choices name="{GRADE}" toName="image" choice="single" required="true">\n{choices}  </Choices>\n'
        "</View>\n"
    )


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
    reasons = rule(type="list", formula1=f'"{",".join(REASONS)}"', allow_blank=True, showErrorMessage=False)
    for column, validation in (("C", grades), ("D", reasons)):
        sheet.add_data_validation(validation)
        validation.add(f"{column}2:{column}{len(rows)}")
    sheet.freeze_panes = "A2"
    for column, width in zip("ABCD", (20, 32, 6, 22), strict=True):
        sheet.column_dimensions[column].width = width
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()
