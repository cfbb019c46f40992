"""`kneeal ask` and `kneeal tell` on the real command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import QUICK, done, kneeal, refused
from helpers.knees import pairs, table

from kneeal.data.prepared import write_prepared
from kneeal.files import hold_lock
from kneeal.loop.folder import LOCK


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = table(60, sites="AB")
    rows["split"] = np.where(rows["site"] == "B", "test", "train")
    rows.loc[:19, "split"] = "val"
    rows["site"] = ""
    rows.loc[rows["split"] == "train", "kl"] = ""  # nobody has graded them yet
    rows = rows.assign(kl=[str(k % 5) if kl else "" for k, kl in enumerate(rows["kl"])])
    write_prepared(tmp_path / "data", rows, pairs(120, 16), source="test", options={}, patch_px=16)
    return tmp_path / "data"


@pytest.fixture
def run(data: Path, tmp_path: Path) -> Path:
    done("ask", tmp_path / "run", "--data", data, "--strategy", "mi_mcd", *QUICK)
    return tmp_path / "run"


def fill(sheet: Path, grades: dict[int, str], out: Path) -> Path:
    """Grades by row, written as another sheet in reversed order."""
    rows = list(csv.DictReader(sheet.open()))
    for k, grade in grades.items():
        rows[k]["kl" if grade.isdigit() else "unreadable"] = grade
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(reversed(rows))
    return out


def answers(run: Path) -> dict[str, int | None]:
    path = run / "start" / "answers.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def test_a_whole_run_with_a_person(run: Path, data: Path, tmp_path: Path) -> None:
    sheet = run / "ask/start/answers.csv"
    knees = [row["knee_id"] for row in csv.DictReader(sheet.open())]
    assert len(knees) == 6 and all((sheet.parent / row["picture"]).is_file() for row in csv.DictReader(sheet.open()))
    assert "4 knees still to be answered" in done(
        "tell", run, fill(sheet, {0: "2", 5: "not a knee"}, tmp_path / "a.csv")
    )
    assert answers(run) == {knees[0]: 2, knees[5]: None}
    assert "6 knees asked for, 2 answered" in done("ask", run)
    told = done("tell", run, fill(sheet, {1: "0", 2: "1", 3: "4"}, tmp_path / "b.csv"), "--close")
    assert "closed with 4 knees graded; 1 open knee carried into the next query" in told
    done("ask", run, "--data", data)
    second = [row["knee_id"] for row in csv.DictReader((run / "ask/000/answers.csv").open())]
    assert second[0] == knees[4] and len(second) == 4 and set(second[1:]).isdisjoint(knees)
    for number in range(9):
        sheet = run / f"ask/{number:03d}/answers.csv"
        done(
            "tell", run, fill(sheet, dict.fromkeys(range(len(list(csv.DictReader(sheet.open())))), "3"), tmp_path / "c")
        )
        if "the budget is spent: 14 knees graded" in done("ask", run):
            break
    refused(kneeal("tell", run, tmp_path / "c"), "a round that is closed")
    asked = {row["knee_id"] for sheet in run.glob("ask/*/answers.csv") for row in csv.DictReader(sheet.open())}
    left = [row["knee_id"] for row in csv.DictReader((data / "manifest.csv").open()) if row["split"] == "train"]
    (tmp_path / "late.csv").write_text(f"knee_id,kl\n{next(i for i in left if i not in asked)},2\n")
    refused(kneeal("tell", run, tmp_path / "late.csv"), "a finished run", "larger budget")


def test_a_sheet_in_work_is_not_written_over(run: Path) -> None:
    sheet = run / "ask/start/answers.csv"
    fill(sheet, {0: "2"}, sheet)
    before = sheet.read_text()
    done("ask", run)
    assert sheet.read_text() == before


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("stranger_L,1", "not asked for: 'stranger_L'"),
        ("{0},7", "grade '7'"),
        ("{0},1\n{0},2", "two answers for knee"),
        ("{0},1", "which was graded 3 before"),
        ("{1}", "has 1 cells"),
    ],
)
def test_a_bad_answer_keeps_everything_else(run: Path, tmp_path: Path, row: str, message: str) -> None:
    sheet = run / "ask/start/answers.csv"
    knees = [entry["knee_id"] for entry in csv.DictReader(sheet.open())]
    done("tell", run, fill(sheet, {0: "3"}, tmp_path / "first.csv"))
    (tmp_path / "bad.csv").write_text(f"knee_id,kl\n{knees[2]},4\n{row.format(*knees)}\n")
    refused(kneeal("tell", run, tmp_path / "bad.csv"), message)
    assert answers(run) == {knees[0]: 3}


def test_a_correction(run: Path, tmp_path: Path) -> None:
    sheet = run / "ask/start/answers.csv"
    done("tell", run, fill(sheet, {0: "3"}, tmp_path / "a.csv"))
    done("tell", run, fill(sheet, {0: "1"}, tmp_path / "b.csv"), "--replace")
    assert list(answers(run).values()) == [1]


def test_a_round_that_is_closed(run: Path, data: Path, tmp_path: Path) -> None:
    sheet = run / "ask/start/answers.csv"
    whole = fill(sheet, dict.fromkeys(range(6), "3"), tmp_path / "a.csv")
    done("tell", run, whole)
    state = (run / "rounds/000/state.json").read_text()
    refused(kneeal("tell", run, whole), "a round that is closed: 6 knees")
    others = [row["knee_id"] for row in csv.DictReader((data / "manifest.csv").open()) if row["split"] == "train"]
    known = {row["knee_id"] for row in csv.DictReader(sheet.open())}
    (tmp_path / "next.csv").write_text(f"knee_id,kl\n{next(i for i in others if i not in known)},2\n")
    refused(kneeal("tell", run, tmp_path / "next.csv"), "without a pending query", f"`kneeal ask {run}`")
    assert (run / "rounds/000/state.json").read_text() == state


def test_two_processes_do_not_work_on_one_run(run: Path, tmp_path: Path) -> None:
    whole = fill(run / "ask/start/answers.csv", {0: "3"}, tmp_path / "a.csv")
    with hold_lock(run / LOCK):
        refused(kneeal("tell", run, whole), "another process is working on")
    done("tell", run, whole)


def test_fit_does_not_work_on_a_run_that_another_process_has(tmp_path: Path) -> None:
    rows = table(60, sites="AB")
    rows["split"] = np.where(rows["site"] == "B", "test", "train")
    rows.loc[:19, "split"] = "val"
    rows["site"] = ""
    write_prepared(tmp_path / "data", rows, pairs(120, 16), source="test", options={}, patch_px=16)
    run = tmp_path / "run"
    done("ask", run, "--data", tmp_path / "data", "--strategy", "mi_mcd", *QUICK)
    # A run with a person has another default.
    fit = ("fit", "--resume", "--config", "frozen", "--out", run, "--data", tmp_path / "data")
    fit = (*fit, "--strategy", "mi_mcd", *QUICK)
    with hold_lock(run / LOCK):
        refused(kneeal(*fit), "another process is working on")
    assert "run folder" in done(*fit)


def test_what_a_run_needs(data: Path, tmp_path: Path) -> None:
    refused(kneeal("ask", tmp_path / "new"), "no data set")
    refused(kneeal("tell", tmp_path / "new", tmp_path / "a.csv"), "no file")
    (tmp_path / "a.csv").write_text("knee_id,kl\n")
    refused(kneeal("tell", tmp_path / "new", tmp_path / "a.csv"), "no run in", "it does not exist")
    refused(
        kneeal("ask", tmp_path / "new", "--data", data, "--strategy", "mi_mcd", *QUICK, "--images", tmp_path / "x"),
        "no folder",
    )
    refused(
        kneeal("ask", tmp_path / "new2", "--data", data, "--strategy", "mi_mcd", *QUICK, "--set", "active.n_init=900"),
        "n_init = 900",
    )
    assert not (tmp_path / "new2").exists()


def test_other_settings_are_refused(run: Path, data: Path) -> None:
    refused(kneeal("ask", run, "--data", data, "--strategy", "entropy_mcd", *QUICK), "another configuration")


def test_settings_given_for_a_run_that_is_there_are_compared_with_its_own(run: Path) -> None:
    refused(kneeal("ask", run, "--strategy", "random"), "belongs to another configuration: active.strategy ('mi_mcd'")
    assert "6 knees asked for" in done("ask", run, "--strategy", "mi_mcd"), "with the data set of the run"


FOREIGN = [
    [],
    [{"image": "a.png", "label": "cat"}],
    [{"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": []}]}],
    [{"data": {"knee_id": "a_L"}, "annotations": [{"result": [{"from_name": "label", "value": {"choices": ["3"]}}]}]}],
]


@pytest.mark.parametrize("tasks", FOREIGN)
def test_an_export_of_another_project_is_refused_with_what_was_looked_for(
    run: Path, tmp_path: Path, tasks: list[dict[str, object]]
) -> None:
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    refused(kneeal("tell", run, tmp_path / "export.json"), "nothing answers a query", "knee_id", "a control called kl")


@pytest.mark.parametrize("name", ["answers.csv", "label_studio_tasks.json"])
def test_a_file_without_an_answer_is_refused(run: Path, name: str) -> None:
    refused(kneeal("tell", run, run / "ask/start" / name), f"{name} without an answer", "fill it in", "--close")


def test_answers_that_were_taken_before_are_counted(run: Path, tmp_path: Path) -> None:
    sheet = fill(run / "ask/start/answers.csv", {0: "2", 1: "3"}, tmp_path / "a.csv")
    assert "took 2 new answers\n" in done("tell", run, sheet)
    assert "took 0 new answers; 2 taken before" in done("tell", run, sheet)


def test_a_knee_id_longer_than_a_file_name_is_asked_for(tmp_path: Path) -> None:
    rows = table(20)
    rows["knee_id"] = [f"{'p' * 300}{n}_{side}" for n, side in enumerate(rows["side"])]
    write_prepared(tmp_path / "data", rows, pairs(40, 16), source="test", options={}, patch_px=16)
    done("ask", tmp_path / "run", "--data", tmp_path / "data", "--strategy", "mi_mcd", *QUICK)
    assert len(list((tmp_path / "run/ask/start/pictures").glob("*.png"))) == 6


def test_validation_and_test_knees_need_grades(tmp_path: Path) -> None:
    rows = table(20, sites="")
    rows["kl"] = ""
    rows["split"] = np.where(np.arange(40) < 10, "test", "")
    write_prepared(tmp_path / "data", rows, pairs(40, 16), source="test", options={}, patch_px=16)
    refused(
        kneeal("ask", tmp_path / "run", "--data", tmp_path / "data", "--config", "paper", *QUICK),
        "no validation knee with a known grade",
    )
