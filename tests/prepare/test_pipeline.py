"""From an archive to a data set, by the command line and by its parts."""

from __future__ import annotations

import csv
import multiprocessing.spawn
import os
import re
import shutil
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.archive import PLANTED, Made, write_test_archive
from helpers.commands import kneeal, refused

from kneeal.data.prepared import PreparedDataset
from kneeal.errors import UserError
from kneeal.localizer.quality import SelectionRules
from kneeal.prepare.oai import plan_oai
from kneeal.prepare.pipeline import prepare_archive, pseudonym
from kneeal.prepare.tasks import read_corrections
from kneeal.prepare.work import PrepareOptions
from kneeal.prepare.workers import Lost, WorkerPool
from tools.radiographs import RadiographOptions, draw_radiograph

OPTIONS = PrepareOptions(select=SelectionRules("ignore"))
KEY = b"0123456789abcdef0123"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Made]]:
    folder = tmp_path_factory.mktemp("oai") / "archive"
    return folder, write_test_archive(folder, patients=8, seed=3, mm_per_px=0.4)


def prepare(source: Path, out: Path, workers: int = 0, **more: Any) -> PreparedDataset:
    prepare_archive(plan_oai(source), out, OPTIONS, workers=workers, **more)
    return PreparedDataset.open(out, verify=True)


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.name != "sheet.html"}


def test_knees_grades_and_places_are_those_of_the_archive(archive: tuple[Path, list[Made]], tmp_path: Path) -> None:
    source, made = archive
    data = prepare(source, tmp_path / "out")
    frame = data.manifest.frame.set_index("knee_id")
    assert len(frame) == 2 * len(made)
    for patient in made:
        for knee in patient.radiograph.knees:
            row = frame.loc[f"{patient.patient}_{knee.side}"]
            assert (row["kl"], row["site"]) == (str(knee.kl), patient.site)
            assert np.hypot(float(row["x_mm"]) - knee.center_mm[0], float(row["y_mm"]) - knee.center_mm[1]) < 5
            assert abs(float(row["angle_deg"]) - knee.angle_deg) < 3
    assert not (tmp_path / ".out.work").exists()


def test_the_same_bytes_by_one_process_and_by_two(archive: tuple[Path, list[Made]], tmp_path: Path) -> None:
    source, _ = archive
    for workers in (0, 2):
        prepare(source, tmp_path / str(workers), workers)
    assert files(tmp_path / "0") == files(tmp_path / "2")


def test_finished_radiographs_are_not_done_again(
    archive: tuple[Path, list[Made]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = archive
    stop = iter(range(3))
    with pytest.raises(StopIteration):  # stands for a kill after three radiographs
        prepare(source, tmp_path / "a", work=tmp_path / "work", progress=lambda n: next(stop) and None)
    assert not (tmp_path / "a").exists()
    finished = sorted((tmp_path / "work").rglob("*.npz"))
    times = {path: path.stat().st_mtime_ns for path in finished}
    prepare(source, tmp_path / "a", work=tmp_path / "work")
    assert times and all(path.stat().st_mtime_ns == time for path, time in times.items())
    prepare(source, tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_no_identifier_leaves(archive: tuple[Path, list[Made]], tmp_path: Path) -> None:
    source, made = archive
    prepare(source, tmp_path / "out", key=KEY)
    everything = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    # Ids of seven digits do not occur by chance; the knees do.
    for word in (*PLANTED.values(), *(m.patient for m in made), *(m.folder for m in made)):
        assert word.encode() not in everything, word
    assert pseudonym(KEY, "x") != pseudonym(KEY + b"1", "x")


def test_one_bad_radiograph_stops_nothing(tmp_path: Path) -> None:
    made = write_test_archive(tmp_path / "archive", patients=3, seed=5, mm_per_px=0.5)
    path = tmp_path / "archive" / made[0].folder / "001"
    path.write_bytes(path.read_bytes()[:5000])
    (tmp_path / "archive" / made[1].folder / "001").unlink()
    assert len(prepare(tmp_path / "archive", tmp_path / "out").manifest) == 2
    rows = list(csv.DictReader((tmp_path / "out" / "rejected.csv").open()))
    assert {(row["patient_id"], row["reason"]) for row in rows} == {
        (made[0].patient, "truncated"), (made[1].patient, "missing"),
    }  # fmt: skip


def test_corrections_go_before_the_finder(archive: tuple[Path, list[Made]], tmp_path: Path) -> None:
    source, made = archive
    knee, other = f"{made[0].patient}_R", f"{made[1].patient}_L"
    x, y = made[0].radiograph.knees[0].center_mm
    table = tmp_path / "c.csv"
    table.write_text(f"knee_id,x_mm,y_mm,angle_deg,reject\n{knee},{x + 3},{y},4,\n{other},,,,yes\n")
    data = prepare(source, tmp_path / "out", corrections=read_corrections(table))
    row = data.manifest.frame.set_index("knee_id").loc[knee]
    assert (float(row["x_mm"]), row["angle_deg"], row["score"]) == (pytest.approx(x + 3, abs=0.01), "4.00", "1.000")
    assert other not in data.manifest.ids and "by_hand" in (tmp_path / "out" / "rejected.csv").read_text()
    table.write_text("knee_id,x_mm,y_mm,angle_deg,reject\nnobody_R,,,,yes\n")
    with pytest.raises(UserError, match="nobody_R"):
        prepare(source, tmp_path / "out2", corrections=read_corrections(table))


def test_corrections_that_cannot_be_are_refused_with_their_rows(
    archive: tuple[Path, list[Made]], tmp_path: Path
) -> None:
    source, made = archive
    knees = {knee.side: knee.center_mm for knee in made[0].radiograph.knees}
    (rx, ry), (lx, ly), name, other = knees["R"], knees["L"], made[0].patient, made[1].patient
    damaged = tmp_path / "damaged"
    shutil.copytree(source, damaged)
    (damaged / made[1].folder / "001").write_bytes(b"")
    for rows, said in (
        (f"{name}_R,{rx},{ry},,\n{name}_L,{rx + 9},{ry},,", f"line 2 and line 3: {name}_R and {name}_L are in"),
        (f"{name}_R,{lx},{ly},,", f"line 2: {name}_R and {name}_L are in one place"),
        (f"{name}_R,2000,{ry},,", f"line 2: {name}_R cannot be used (the knee region leaves the radiograph)"),
        (f"{name}_R,{rx},{ry},,\n{other}_R,,,,", f"line 3: {other}_R cannot be used (an empty file"),
    ):  # fmt: skip
        (tmp_path / "c.csv").write_text(f"knee_id,x_mm,y_mm,angle_deg,reject\n{rows}\n")
        read = list[int]()
        with pytest.raises(UserError, match=re.escape(said)):
            prepare(damaged, tmp_path / "out", corrections=read_corrections(tmp_path / "c.csv"), progress=read.append)
        assert read == [] and not (tmp_path / "out").exists()
    # Both knees may be exchanged, and what is left out need not be there.
    (tmp_path / "c.csv").write_text(
        f"knee_id,x_mm,y_mm,angle_deg,reject\n{name}_R,{lx},{ly},,\n{name}_L,{rx},{ry},,\n{other}_R,,,,x\n"
    )
    data = prepare(damaged, tmp_path / "out", corrections=read_corrections(tmp_path / "c.csv"))
    assert float(data.manifest.frame.set_index("knee_id").loc[f"{name}_R", "x_mm"]) == pytest.approx(lx, abs=0.01)


def test_two_patients_are_not_put_in_one_place_of_a_picture(tmp_path: Path) -> None:
    radiograph = draw_radiograph(1, 31, RadiographOptions(mm_per_px=0.5))
    cv2.imwrite(str(tmp_path / "x.png"), np.rint(255 * np.clip(radiograph.gray, 0, 1)))
    x, y = radiograph.knees[0].center_mm
    (tmp_path / "t.csv").write_text("path,patient,side,grade\nx.png,a,R,1\nx.png,b,L,2\n")
    (tmp_path / "c.csv").write_text(f"knee_id,x_mm,y_mm,angle_deg,reject\na_R,{x},{y},,\nb_L,{x},{y + 20},,\n")
    result = kneeal("prepare", "dicom", tmp_path, "--table", tmp_path / "t.csv", "--out", tmp_path / "out",
                    "--mm-per-px", "0.5", "--workers", "0", "--corrections", tmp_path / "c.csv")  # fmt: skip
    refused(result, "line 2 and line 3: a_R and b_L are in one place", "correct or remove these rows")


def test_paths_that_leave_the_archive_and_ids_without_a_match(tmp_path: Path) -> None:
    made = write_test_archive(tmp_path / "archive", patients=2, seed=5, mm_per_px=1.0)
    contents = tmp_path / "archive" / "contents.csv"
    text = contents.read_text()
    contents.write_text(text.replace(made[0].folder, "0.C.2/../../secret"))
    plan = plan_oai(tmp_path / "archive")
    assert [r.reason for r in plan.rejected] == ["outside"] and len(plan.tasks) == 1
    contents.write_text(text.replace("9000", "8000"))
    with pytest.raises(UserError, match="no patient"):
        plan_oai(tmp_path / "archive")
    contents.write_text(text.replace("ParticipantID", "Person"))
    with pytest.raises(UserError, match="ParticipantID"):
        plan_oai(tmp_path / "archive")


def make_fragile() -> Any:
    def work(task: int) -> int:
        if task == 1:
            os._exit(3)
        if task == 2:
            raise ValueError("secret")
        while task == 3:
            pass
        return task

    return work


def test_a_process_that_dies_or_hangs_costs_its_own_task_only() -> None:
    with WorkerPool(make_fragile, workers=2, timeout_s=5) as pool:
        results = dict(pool.run([0, 1, 2, 3, 4]))
        assert dict(pool.run([5])) == {0: 5}
    assert results[0] == 0 and results[4] == 4
    reasons = {k: value.reason for k, value in results.items() if isinstance(value, Lost)}
    assert reasons == {1: "crashed", 2: "failed", 3: "hung"}
    assert "secret" not in str(results)


def make_interrupted() -> Any:
    os.kill(os.getpid(), signal.SIGINT)
    return lambda task: os.kill(os.getpid(), signal.SIGINT) or task  # type: ignore[func-returns-value]


def test_ctrl_c_is_left_to_the_command_while_processes_start_and_work() -> None:
    with WorkerPool(make_interrupted, workers=1, timeout_s=60) as pool:
        assert dict(pool.run([7])) == {0: 7}
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def refuse_start(*_: object) -> None:
    raise BlockingIOError(11, "Resource temporarily unavailable")


@pytest.mark.parametrize(("python", "said"), [
    ("/nonexistent", "ended before"), (sys.executable, "temporarily unavailable"),
])  # fmt: skip
def test_processes_that_cannot_start_are_one_message(
    python: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "1.dcm").write_bytes(b"")
    (tmp_path / "t.csv").write_text("path,patient\n1.dcm,a\n")
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", os.fsencode(python))
    if python == sys.executable:
        monkeypatch.setattr(BaseProcess, "start", refuse_start)
    result = kneeal("prepare", "dicom", tmp_path, "--table", tmp_path / "t.csv", "--ungraded", "--workers", "2",
                    "--out", tmp_path / "out")  # fmt: skip
    refused(result, "worker process did not start", said, "--workers 0")
    assert not (tmp_path / "out").exists()


def test_a_lost_process_that_cannot_be_replaced_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with WorkerPool(make_fragile, workers=1, timeout_s=60) as pool:
        results = pool.run([0, 1, 4])
        assert next(results) == (0, 0)
        monkeypatch.setattr(BaseProcess, "start", refuse_start)
        with pytest.raises(UserError, match="did not start"):
            next(results)


def make_numbered() -> Any:
    return lambda task: os.getpid()


def test_further_radiographs_start_no_further_processes() -> None:
    with WorkerPool(make_numbered, workers=2, timeout_s=60) as pool:
        numbers = {number for _ in range(4) for _, number in pool.run([0, 1, 2])}
    assert 1 <= len(numbers) <= 2 and os.getpid() not in numbers
