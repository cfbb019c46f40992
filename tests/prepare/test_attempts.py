"""Several radiographs of a patient: the first that gives a knee is used, and each that was tried has its reason."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.archive import radiograph_header, write_test_archive

from kneeal.data.prepared import PreparedDataset
from kneeal.localizer.landmarks import LandmarkSource
from kneeal.localizer.quality import SelectionRules
from kneeal.prepare.attempts import Attempt, try_radiographs
from kneeal.prepare.dicom_folder import plan_dicom
from kneeal.prepare.oai import plan_oai
from kneeal.prepare.pipeline import prepare_archive
from kneeal.prepare.tasks import Correction, RadiographTask
from kneeal.prepare.work import PrepareOptions
from kneeal.prepare.workers import Lost
from tools.radiographs import RadiographOptions, draw_radiograph

OPTIONS = PrepareOptions(select=SelectionRules("ignore"))
SAID = {"R": Correction(True)}


def chain(*names: str, **grades: int) -> RadiographTask:
    wanted = grades or {"R": 1}
    first, *others = [RadiographTask(Path(name), name, names[0][0], wanted) for name in names]
    return replace(first, alternatives=tuple(others))


class Script:
    """Radiographs that give what they are told to: knees, "bad" (read, but no knee), "broken", or "lost"."""

    def __init__(self, **outcomes: int | str) -> None:
        self.outcomes, self.rounds = outcomes, list[list[tuple[str, bool]]]()

    def __call__(self, radiographs: Sequence[RadiographTask]) -> list[Attempt]:
        self.rounds.append([(radiograph.name, bool(radiograph.corrections)) for radiograph in radiographs])
        return [self.one(radiograph) for radiograph in radiographs]

    def one(self, radiograph: RadiographTask) -> Attempt:
        outcome = self.outcomes[radiograph.name]
        if outcome == "lost":
            return Attempt(radiograph, "", lost=Lost("crashed", ""))
        if outcome in ("R", "L"):
            return Attempt(radiograph, "", (str(outcome),), single=True, readable=True)
        if outcome == "one":  # a radiograph of both knees, of which one was asked for
            return Attempt(radiograph, "", tuple(radiograph.grades), readable=True)
        knees = outcome if isinstance(outcome, int) and not radiograph.corrections else 0
        return Attempt(radiograph, "", ("R", "L")[:knees], readable=outcome != "broken")


def run(script: Script, *tasks: RadiographTask, said: Mapping[int, Any] | None = None) -> list[tuple[str, str, str]]:
    """Names of the radiographs tried, of the one that is used, and of those not needed."""
    corrected = [replace(task, corrections=(said or {}).get(k, {})) for k, task in enumerate(tasks)]
    tried = try_radiographs(corrected, script)
    return [
        (
            " ".join(done.task.name for done in radiograph.attempts),
            " ".join(radiograph.attempts[k].task.name for k in radiograph.used),
            " ".join(task.name for task in radiograph.attempts[-1].task.alternatives),
        )
        for radiograph in tried
    ]


def test_the_first_radiograph_that_gives_a_knee_is_used_and_no_further_one_is_read() -> None:
    script = Script(a1=2, a2=2, b1="broken", b2="bad", b3=1, b4=2, c1="lost", c2=2)
    assert run(script, chain("a1", "a2"), chain("b1", "b2", "b3", "b4"), chain("c1", "c2")) == [
        ("a1", "a1", "a2"), ("b1 b2 b3", "b3", "b4"), ("c1 c2", "c2", ""),
    ]  # fmt: skip
    assert [[name for name, _ in radiographs] for radiographs in script.rounds] == [
        ["a1", "b1", "c1"],
        ["b2", "c2"],
        ["b3"],
    ]


def test_where_none_gives_a_knee_the_first_that_can_be_looked_at_stands_for_it() -> None:
    script = Script(a1="broken", a2="bad", a3="bad", b1="broken", b2="lost")
    assert run(script, chain("a1", "a2", "a3"), chain("b1", "b2")) == [("a1 a2 a3", "a2", ""), ("b1 b2", "b1", "")]


def test_radiographs_of_one_knee_each_give_both_knees() -> None:
    script = Script(a1="R", a2="R", a3="L", a4="R", b1="R", b2="L", c1="L", c2=2, c3=2)
    both = {"R": 1, "L": 2}
    assert run(script, chain("a1", "a2", "a3", "a4", **both), chain("b1", "b2"), chain("c1", "c2", "c3", **both)) == [
        ("a1 a2 a3", "a1 a3", "a4"), ("b1", "b1", "b2"), ("c1 c2", "c1 c2", "c3"),
    ]  # fmt: skip
    said = {0: {"L": Correction(True)}}
    script = Script(a1="R", a2="L")
    assert run(script, chain("a1", "a2", R=1, L=2), said=said) == [("a1 a2", "a1 a2", "")]
    # What is said of the left knee reaches the radiograph of the left knee alone.
    assert script.rounds == [[("a1", False)], [("a2", False)], [("a2", True)]]


def test_a_knee_that_the_table_names_for_another_radiograph_is_looked_for_there() -> None:
    first, second, third = (
        chain(name, **grades) for name, grades in (("a1", {"R": 1}), ("a2", {"L": 2}), ("a3", {"R": 1}))
    )
    task = replace(first, alternatives=(second, third))
    assert run(Script(a1="one", a2="one", a3="one"), task) == [("a1 a2", "a1 a2", "a3")]


def test_what_a_person_says_holds_for_the_radiograph_in_use_and_brings_no_other_in() -> None:
    script = Script(a1="bad", a2=2, a3=2, b1=2, c1="bad", c2="bad")
    said = {0: SAID, 1: SAID, 2: SAID}
    assert run(script, chain("a1", "a2", "a3"), chain("b1"), chain("c1", "c2"), said=said) == [
        ("a1 a2", "a2", "a3"), ("b1", "b1", ""), ("c1 c2", "c1", ""),
    ]  # fmt: skip
    # A radiograph alone is read once; of several, one is chosen first, without the corrections.
    assert script.rounds == [
        [("a1", False), ("b1", True), ("c1", False)], [("a2", False), ("c2", False)], [("a2", True), ("c1", True)],
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patient p: one radiograph cut off, one of a single knee of unknown side, two good ones; q: good; r: broken."""
    radiographs = tmp_path_factory.mktemp("archive") / "radiographs"
    radiographs.mkdir()
    look = RadiographOptions(mm_per_px=0.6)
    good, single = draw_radiograph(0, 31, look), draw_radiograph(1, 31, look, sides="R")
    for name, radiograph, patient in (("p1", good, "p"), ("p2", single, "p"), ("p3", good, "p"), ("p4", good, "p"),
                                ("q1", good, "q"), ("r1", good, "r")):  # fmt: skip
        path = radiographs / name
        radiograph_header(radiograph.gray, radiograph.mm_per_px, patient=patient).save_as(
            path, enforce_file_format=True
        )
        if name in ("p1", "r1"):
            path.write_bytes(path.read_bytes()[:20_000])
    return radiographs


def prepare(radiographs: Path, out: Path, workers: int = 0, **more: Any) -> dict[str, str]:
    """Prepare; the radiograph of each knee."""
    prepare_archive(plan_dicom(radiographs), out, OPTIONS, workers=workers, **more)
    frame = PreparedDataset.open(out, verify=True).manifest.frame
    return dict(zip(frame["knee_id"], frame["path"], strict=True))


def rejected(out: Path) -> list[tuple[str, str, str]]:
    rows = csv.DictReader((out / "rejected.csv").open(encoding="utf-8"))
    return [(row["path"], row["side"], row["reason"]) for row in rows]


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


KNEES = {"p_R": "p3", "p_L": "p3", "q_R": "q1", "q_L": "q1"}


def test_the_next_radiograph_is_used_and_both_outcomes_are_told(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert prepare(folder, out) == KNEES
    assert rejected(out) == [
        ("p1", "", "truncated"), ("p2", "", "one_of_two"), ("p4", "", "duplicate"), ("r1", "", "truncated"),
    ]  # fmt: skip
    details = {row["path"]: row["detail"] for row in csv.DictReader((out / "rejected.csv").open(encoding="utf-8"))}
    # Whoever counts lost patients sees which are not lost.
    assert ["another radiograph of the patient is used" in details[name] for name in ("p1", "p2", "r1")] == [
        True,
        True,
        False,
    ]
    sheet = (out / "sheet.html").read_text(encoding="utf-8")
    # The ids of the knees stand beside the radiograph that corrections go to, and beside no other.
    assert sheet.count("p_R") == 1 and "p (p2)" in sheet


def test_the_same_bytes_whatever_the_processes_and_after_a_kill(folder: Path, tmp_path: Path) -> None:
    prepare(folder, tmp_path / "one")
    prepare(folder, tmp_path / "two", workers=2)
    stop = iter(range(2))
    with pytest.raises(StopIteration):  # stands for a kill: q and r are settled, p is at its third radiograph
        prepare(folder, tmp_path / "three", work=tmp_path / "work", progress=lambda n: next(stop) and None)
    assert len(list((tmp_path / "work").rglob("*.npz"))) == 5 and not (tmp_path / "three").exists()
    ticks = list[int]()
    prepare(folder, tmp_path / "three", work=tmp_path / "work", progress=ticks.append)
    assert sum(ticks) == 3  # patients
    whole = files(tmp_path / "one")
    for other in ("two", "three"):
        # The sheet's heading holds the folder's name.
        assert {k: v.replace(b">" + other.encode(), b">one") for k, v in files(tmp_path / other).items()} == whole


def test_corrections_reach_the_radiograph_that_is_used(folder: Path, tmp_path: Path) -> None:
    said = {"p_R": Correction(False, (100.0, 120.0), 3.0), "p_L": Correction(True)}
    knees = prepare(folder, tmp_path / "out", corrections=said)
    assert knees == {"p_R": "p3", "q_R": "q1", "q_L": "q1"}
    assert ("p3", "L", "by_hand") in rejected(tmp_path / "out")


def test_marks_of_a_patient_belong_to_the_first_radiograph_alone(folder: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("patient_id,side,x1,y1,x2,y2\np,R,100,150,300,350\nq,R,100,150,300,350\n")
    assert prepare(folder, tmp_path / "out", landmarks=LandmarkSource(boxes)) == {"q_R": "q1"}
    boxes.write_text("path,side,x1,y1,x2,y2\np3,R,100,150,300,350\nq1,R,100,150,300,350\n")
    assert prepare(folder, tmp_path / "out2", landmarks=LandmarkSource(boxes)) == {"p_R": "p3", "q_R": "q1"}


def test_oai_tries_the_other_radiographs_of_a_visit(tmp_path: Path) -> None:
    made = write_test_archive(tmp_path / "oai", patients=2, seed=5, mm_per_px=0.6)
    contents = tmp_path / "oai" / "contents.csv"
    line = next(row for row in contents.read_text().splitlines() if made[0].folder + '"' in row)
    later = "0.C.2/later"
    contents.write_text(contents.read_text() + line.replace(made[0].folder, later).replace("10000000", "1") + "\n")
    shutil.copytree(tmp_path / "oai" / made[0].folder, tmp_path / "oai" / later)
    damaged = tmp_path / "oai" / made[0].folder / "001"
    damaged.write_bytes(damaged.read_bytes()[:20_000])
    plan = plan_oai(tmp_path / "oai")
    assert [spare.name for spare in plan.tasks[0].alternatives] == [f"{later}/001"] and plan.rejected == []
    prepare_archive(plan, tmp_path / "out", OPTIONS, workers=0)
    frame = PreparedDataset.open(tmp_path / "out", verify=True).manifest.frame
    assert list(frame["path"])[:2] == [f"{later}/001"] * 2 and len(frame) == 4
    # A radiograph that is not there is none, and the next one is the first.
    damaged.unlink()
    plan = plan_oai(tmp_path / "oai")
    assert (plan.tasks[0].name, [r.reason for r in plan.rejected]) == (f"{later}/001", ["missing"])
