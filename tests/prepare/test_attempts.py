"""Several films of a patient: the first that gives a knee is used, and each that was tried has its reason."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.archive import film_header, write_test_archive

from kneeal.data.prepared import PreparedDataset
from kneeal.data.synthetic.radiographs import FilmOptions, draw_film
from kneeal.localizer.landmarks import LandmarkSource
from kneeal.prepare.attempts import Attempt, try_films
from kneeal.prepare.corrections import Correction
from kneeal.prepare.dicom_folder import plan_dicom
from kneeal.prepare.film_work import PrepareOptions, Work
from kneeal.prepare.oai import plan_oai
from kneeal.prepare.pipeline import ArchiveOptions, prepare_archive
from kneeal.prepare.pool import Lost
from kneeal.prepare.tasks import FilmTask

OPTIONS = ArchiveOptions(PrepareOptions(markers="ignore"), workers=0)
SAID = {"R": Correction(True)}


def chain(*names: str) -> FilmTask:
    first, *others = [FilmTask(Path(name), name, names[0][0], {"R": 1}) for name in names]
    return replace(first, spares=tuple(others))


class Script:
    """Films that give what they are told to: knees, "bad" (read, but no knee), "broken", or "lost"."""

    def __init__(self, **outcomes: int | str) -> None:
        self.outcomes, self.rounds = outcomes, list[list[tuple[str, bool]]]()

    def __call__(self, films: Sequence[Work]) -> list[Attempt]:
        self.rounds.append([(film.task.name, bool(film.corrections)) for film in films])
        return [self.one(film) for film in films]

    def one(self, film: Work) -> Attempt:
        outcome = self.outcomes[film.task.name]
        if outcome == "lost":
            return Attempt(film, "", lost=Lost("crashed", ""))
        knees = outcome if isinstance(outcome, int) and not film.corrections else 0
        return Attempt(film, "", n_knees=knees, readable=outcome != "broken")


def run(script: Script, *tasks: FilmTask, said: Mapping[int, Any] | None = None) -> list[tuple[str, str, str]]:
    """Names of the films tried, of the one that is used, and of those not needed."""
    tried = try_films(tasks, [(said or {}).get(k, {}) for k in range(len(tasks))], script)
    return [
        (
            " ".join(done.work.task.name for done in film.attempts),
            film.chosen.work.task.name,
            " ".join(task.name for task in film.untried),
        )
        for film in tried
    ]


def test_the_first_film_that_gives_a_knee_is_used_and_no_further_one_is_read() -> None:
    script = Script(a1=2, a2=2, b1="broken", b2="bad", b3=1, b4=2, c1="lost", c2=2)
    assert run(script, chain("a1", "a2"), chain("b1", "b2", "b3", "b4"), chain("c1", "c2")) == [
        ("a1", "a1", "a2"), ("b1 b2 b3", "b3", "b4"), ("c1 c2", "c2", ""),
    ]  # fmt: skip
    assert [[name for name, _ in films] for films in script.rounds] == [["a1", "b1", "c1"], ["b2", "c2"], ["b3"]]


def test_where_none_gives_a_knee_the_first_that_can_be_looked_at_stands_for_it() -> None:
    script = Script(a1="broken", a2="bad", a3="bad", b1="broken", b2="lost")
    assert run(script, chain("a1", "a2", "a3"), chain("b1", "b2")) == [("a1 a2 a3", "a2", ""), ("b1 b2", "b1", "")]


def test_what_a_person_says_holds_for_the_film_in_use_and_brings_no_other_in() -> None:
    script = Script(a1="bad", a2=2, a3=2, b1=2, c1="bad", c2="bad")
    said = {0: SAID, 1: SAID, 2: SAID}
    assert run(script, chain("a1", "a2", "a3"), chain("b1"), chain("c1", "c2"), said=said) == [
        ("a1 a2", "a2", "a3"), ("b1", "b1", ""), ("c1 c2", "c1", ""),
    ]  # fmt: skip
    # A film alone is read once; of several, one is chosen first, without the corrections.
    assert script.rounds == [
        [("a1", False), ("b1", True), ("c1", False)], [("a2", False), ("c2", False)], [("a2", True), ("c1", True)],
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patient p: a film that is cut off, one of a single knee, two good ones; q: one good film; r: a broken one."""
    films = tmp_path_factory.mktemp("archive") / "films"
    films.mkdir()
    look = FilmOptions(mm_per_px=0.6)
    good, single = draw_film(0, 31, look), draw_film(1, 31, look, sides="R")
    for name, film, patient in (("p1", good, "p"), ("p2", single, "p"), ("p3", good, "p"), ("p4", good, "p"),
                                ("q1", good, "q"), ("r1", good, "r")):  # fmt: skip
        path = films / name
        film_header(film.grey, film.mm_per_px, patient=patient).save_as(path, enforce_file_format=True)
        if name in ("p1", "r1"):
            path.write_bytes(path.read_bytes()[:20_000])
    return films


def prepare(films: Path, out: Path, options: ArchiveOptions = OPTIONS, **more: Any) -> dict[str, str]:
    """Prepare; the film of each knee."""
    prepare_archive(plan_dicom(films), out, options, **more)
    frame = PreparedDataset.open(out, verify=True).manifest.frame
    return dict(zip(frame["knee_id"], frame["path"], strict=True))


def rejected(out: Path) -> list[tuple[str, str, str]]:
    rows = csv.DictReader((out / "rejected.csv").open(encoding="utf-8"))
    return [(row["path"], row["side"], row["reason"]) for row in rows]


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


KNEES = {"p_R": "p3", "p_L": "p3", "q_R": "q1", "q_L": "q1"}


def test_the_next_film_is_used_and_both_outcomes_are_told(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert prepare(folder, out) == KNEES
    assert rejected(out) == [
        ("p1", "", "truncated"), ("p2", "", "one_knee"), ("p4", "", "duplicate"), ("r1", "", "truncated"),
    ]  # fmt: skip
    details = {row["path"]: row["detail"] for row in csv.DictReader((out / "rejected.csv").open(encoding="utf-8"))}
    # Whoever counts lost patients sees which are not lost.
    assert ["another film of the patient is used" in details[name] for name in ("p1", "p2", "r1")] == [
        True,
        True,
        False,
    ]
    sheet = (out / "sheet.html").read_text(encoding="utf-8")
    # The ids of the knees stand beside the film that corrections go to, and beside no other.
    assert sheet.count("p_R") == 1 and "p (p2)" in sheet


def test_the_same_bytes_whatever_the_processes_and_after_a_kill(folder: Path, tmp_path: Path) -> None:
    prepare(folder, tmp_path / "one")
    prepare(folder, tmp_path / "two", replace(OPTIONS, workers=2))
    kept = replace(OPTIONS, work=tmp_path / "work")
    stop = iter(range(2))
    with pytest.raises(StopIteration):  # stands for a kill: q and r are settled, p is at its third film
        prepare(folder, tmp_path / "three", kept, progress=lambda n: next(stop) and None)
    assert len(list((tmp_path / "work").rglob("*.npz"))) == 5 and not (tmp_path / "three").exists()
    ticks = list[int]()
    prepare(folder, tmp_path / "three", kept, progress=ticks.append)
    assert sum(ticks) == 3  # patients
    whole = files(tmp_path / "one")
    for other in ("two", "three"):
        # The sheet's heading holds the folder's name.
        assert {k: v.replace(b">" + other.encode(), b">one") for k, v in files(tmp_path / other).items()} == whole


def test_corrections_reach_the_film_that_is_used(folder: Path, tmp_path: Path) -> None:
    said = {"p_R": Correction(False, (100.0, 120.0), 3.0), "p_L": Correction(True)}
    knees = prepare(folder, tmp_path / "out", corrections=said)
    assert knees == {"p_R": "p3", "q_R": "q1", "q_L": "q1"}
    assert ("p3", "L", "by_hand") in rejected(tmp_path / "out")


def test_marks_of_a_patient_belong_to_the_first_film_alone(folder: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("patient_id,side,x1,y1,x2,y2\np,R,100,150,300,350\nq,R,100,150,300,350\n")
    assert prepare(folder, tmp_path / "out", landmarks=LandmarkSource(boxes)) == {"q_R": "q1"}
    boxes.write_text("path,side,x1,y1,x2,y2\np3,R,100,150,300,350\nq1,R,100,150,300,350\n")
    assert prepare(folder, tmp_path / "out2", landmarks=LandmarkSource(boxes)) == {"p_R": "p3", "q_R": "q1"}


def test_oai_tries_the_other_films_of_a_visit(tmp_path: Path) -> None:
    made = write_test_archive(tmp_path / "oai", patients=2, seed=5, mm_per_px=0.6)
    contents = tmp_path / "oai" / "contents.csv"
    line = next(row for row in contents.read_text().splitlines() if made[0].folder + '"' in row)
    later = "0.C.2/later"
    contents.write_text(contents.read_text() + line.replace(made[0].folder, later).replace("10000000", "1") + "\n")
    shutil.copytree(tmp_path / "oai" / made[0].folder, tmp_path / "oai" / later)
    damaged = tmp_path / "oai" / made[0].folder / "001"
    damaged.write_bytes(damaged.read_bytes()[:20_000])
    plan = plan_oai(tmp_path / "oai")
    assert [spare.name for spare in plan.tasks[0].spares] == [f"{later}/001"] and plan.refused == []
    prepare_archive(plan, tmp_path / "out", OPTIONS)
    frame = PreparedDataset.open(tmp_path / "out", verify=True).manifest.frame
    assert list(frame["path"])[:2] == [f"{later}/001"] * 2 and len(frame) == 4
    # A film that is not there is none, and the next one is the first.
    damaged.unlink()
    plan = plan_oai(tmp_path / "oai")
    assert (plan.tasks[0].name, [r.reason for r in plan.refused]) == (f"{later}/001", ["missing"])
