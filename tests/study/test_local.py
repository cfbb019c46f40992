"""The scheduler of cells, with a program in place of training; and a few real cells."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.commands import refused
from helpers.knees import pairs, table

from kneeal.data.prepared import write_prepared
from kneeal.errors import UserError
from kneeal.files import is_locked, try_lock
from kneeal.loop.folder import LOCK, RunFolder
from kneeal.study.cell import run_cell
from kneeal.study.folder import StudyFolder, show_grid
from kneeal.study.grid import Study, read_study
from kneeal.study.local import LocalStudy, Resources, find_resources

#: Waits until as many of its kind have begun as the first argument says, writes a finished run, and notes when it ran
#: with what environment; fails on seed 3, and is killed on seed 4.
PROGRAM = """
import json, os, sys, time
from pathlib import Path
import yaml
together, (config, run, error) = int(sys.argv[1]), map(Path, sys.argv[2:5])
seed = yaml.safe_load(config.read_text())["seed"]
notes, marks = run.parent / "notes", run.parent / "begun"
notes.mkdir(exist_ok=True), marks.mkdir(exist_ok=True)
begun = time.monotonic()
(marks / run.name).touch()
while len(list(marks.iterdir())) < together:
    time.sleep(0.01)
if seed == 3:
    error.write_text("a grid cell of sorrow\\n\\nTraceback")
    sys.exit(1)
if seed == 4:
    os.kill(os.getpid(), 9)
(run / "rounds" / "000").mkdir(parents=True)
(run / "rounds" / "000" / "query.json").write_text('{"ids": [], "row": {}}')
row = {"round": 0, "n_labeled": 50, "test_balanced_accuracy": 0.25}
(run / "rounds" / "000" / "metrics.json").write_text(json.dumps({"row": row}))
note = {"threads": os.environ["OMP_NUM_THREADS"], "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "begun": begun, "ended": time.monotonic()}
(notes / run.name).write_text(json.dumps(note))
"""


def make(path: Path, seeds: list[int], **keys: Any) -> Study:
    file = path / "study.yaml"
    file.write_text(yaml.safe_dump({"name": "s", "base": "demo", "seeds": seeds, **keys}))
    return read_study(file, out=path / "out")


def run(
    study: Study, *, together: int = 1, on_log: Callable[[str], object] = str, **resources: Any
) -> tuple[dict[str, str], list[str]]:
    said: list[str] = []
    resources = {"workers": 2, "threads": 1, **resources}
    local = LocalStudy(
        study,
        Resources(**resources),
        log=lambda message: (said.append(message), on_log(message))[0],
        program=(sys.executable, "-c", PROGRAM, str(together)),
        poll=0.01,
    )
    return {name: status.state for name, status in local.run().items()}, said


def notes(study: Study) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((study.out / "notes").iterdir())]


def test_cells_run_side_by_side_with_their_share_of_threads(tmp_path: Path) -> None:
    study = make(tmp_path, [0, 1, 2])
    states, said = run(study, together=2, workers=2, threads=3)
    assert set(states.values()) == {"finished"}
    at = notes(study)
    assert {note["threads"] for note in at} == {"3"}
    most = max(sum(n["begun"] <= t["begun"] < n["ended"] for n in at) for t in at)
    assert most == 2, "never more than the workers, and not one after another"
    assert "[3/3]" in said[-1]


def test_a_failed_cell_is_reported_and_stops_no_other(tmp_path: Path) -> None:
    study = make(tmp_path, [3, 4, 0])
    states, _ = run(study, workers=1)
    assert list(states.values()) == ["failed", "failed", "finished"]
    shown = show_grid(study)
    assert "seed 3: FAILED: a grid cell of sorrow" in shown
    assert "seed 4: FAILED: killed by signal 9" in shown
    assert "25.0 % @50" in shown
    assert "3 cells in" in shown and "2 failed, 1 finished" in shown


def test_finished_cells_are_kept_and_failed_ones_tried_again(tmp_path: Path) -> None:
    study = make(tmp_path, [0, 3])
    run(study)
    before = (study.out / study.cells[0].name / "rounds/000/metrics.json").stat().st_mtime_ns
    _, said = run(study)
    assert said[0] == "1 of 2 cells are finished already"
    assert [line for line in said if "started" in line] == [
        f"demo, seed 3: started ({study.cells[1].name})".replace("demo", "s")
    ]
    assert (study.out / study.cells[0].name / "rounds/000/metrics.json").stat().st_mtime_ns == before


def test_cells_share_gpus_evenly(tmp_path: Path) -> None:
    study = make(tmp_path, [0, 1, 2, 5])
    run(study, workers=4, gpus=("0", "1"))
    assert sorted(note["gpus"] for note in notes(study)) == ["0", "0", "1", "1"]


def test_a_cell_of_two_devices_gets_two_gpus(tmp_path: Path) -> None:
    study = make(tmp_path, [0, 1], set={"compute.devices": 2, "training.batch_size": 32})
    resources = find_resources(study, gpus=["a", "b", "c", "d"])
    assert resources.workers == 2
    run(study, workers=2, gpus=resources.gpus)
    assert sorted(note["gpus"] for note in notes(study)) == ["a,b", "c,d"]


def test_resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("kneeal.study.local.n_cpus", lambda: 8)
    study = make(tmp_path, list(range(10)))
    assert find_resources(study, gpus=[]) == Resources(4, 2)
    assert find_resources(study, gpus=[], workers=2) == Resources(2, 4)
    assert find_resources(study, gpus=["0", "1"]) == Resources(2, 4, ("0", "1"))
    assert find_resources(study, gpus=["0"], gpu_fraction=1 / 3) == Resources(3, 2, ("0",))
    assert find_resources(study, gpus=["0"], gpu_fraction=1 / 3, workers=50).workers == 3
    for wrong in ({"workers": 0}, {"gpu_fraction": 0.0}, {"gpu_fraction": 1.5}):
        with pytest.raises(UserError):
            find_resources(study, gpus=[], **wrong)  # type: ignore[arg-type]


def test_a_cell_that_another_process_works_on_is_waited_for(tmp_path: Path) -> None:
    study = make(tmp_path, [0])
    folder = StudyFolder(study.out)
    lock = folder.file(study.cells[0], "lock")
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys; from pathlib import Path; from kneeal.files import try_lock\n"
         "assert try_lock(Path(sys.argv[1])) is not None; print('held', flush=True); sys.stdin.read()", str(lock)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdin is not None and holder.stdout is not None and holder.stdout.readline() == b"held\n"
    assert folder.status(study.cells[0]).state == "running"
    states, said = run(study, on_log=lambda message: holder.stdin.close())  # type: ignore[union-attr]
    assert "another process is working on it" in said[0]
    assert list(states.values()) == ["finished"]
    holder.wait()
    assert not is_locked(lock)


def test_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    handle = try_lock(tmp_path / "lock")
    assert handle is not None and try_lock(tmp_path / "lock") is None
    os.close(handle)
    again = try_lock(tmp_path / "lock")
    assert again is not None
    os.close(again)


# -- real cells ------------------------------------------------------------------------------------------------------

TINY = {
    "data": {"patch_size": 8},
    "model": {"width": 1},
    "training": {"epochs": 1, "milestones": [1], "eval_batch_size": 64},
    "active": {"n_init": 6, "n_query": 5, "budget": 16},
    "tracking": {"mode": "none"},
    "compute": {"accelerator": "cpu"},
}
SETTINGS = {
    "Random": {"active.strategy": "random", "loss.consistency": False},
    "ENT + CR": {"active.strategy": "entropy"},
    "Full": {
        "active.strategy": "random", "loss.consistency": False, "active.n_init": "all", "active.budget": "all"
    },
    "Wrong": {"active.strategy": "entropy", "training.init": "nowhere.ckpt"},
}  # fmt: skip


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A study file with data, and the arguments that run it."""
    path = tmp_path_factory.mktemp("real")
    write_prepared(path / "data", table(60), pairs(120, 16), source="test", options={}, patch_px=16)
    file = path / "study.yaml"
    file.write_text(yaml.safe_dump({"name": "s", "base": TINY, "settings": SETTINGS}, sort_keys=False))
    return path, ["--config", str(file), "--data", str(path / "data"), "--out", str(path / "out")]


def kneeal(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "kneeal", *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_a_killed_study_resumes_and_its_cells_share_the_first_labels(real: tuple[Path, list[str]]) -> None:
    path, arguments = real
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "kneeal", "study", *arguments, "--workers", "2"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not list((path / "out").glob("*/rounds/000/metrics.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while any(is_locked(lock) for lock in (path / "out").glob("*/.lock")):
        assert time.monotonic() < deadline, "the cells end with the study"
        time.sleep(0.05)
    study = read_study(path / "study.yaml", data=str(path / "data"), out=path / "out")
    states = [StudyFolder(study.out).status(cell).state for cell in study.cells]
    assert "interrupted" in states and "finished" not in states[1:], states

    done = kneeal("study", *arguments, "--workers", "2")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "Wrong, seed 0: FAILED: " in done.stdout and "nowhere.ckpt" in done.stdout
    runs = {cell.setting: study.out / cell.name for cell in study.cells}
    firsts = [json.loads((runs[name] / "start/answers.json").read_text()) for name in ("Random", "ENT + CR")]
    assert firsts[0] == firsts[1] and len(firsts[0]) == 6
    tests = [
        (runs[name] / "rounds/000/test_predictions.csv").read_text().split("\n") for name in SETTINGS if name != "Wrong"
    ]
    assert len({tuple(line.split(",")[0] for line in lines) for lines in tests}) == 1, "one test set"
    full = json.loads((runs["Full"] / "rounds/000/state.json").read_text())
    state = json.loads((runs["Random"] / "rounds/000/state.json").read_text())
    assert full["unlabeled"] == [] and not (runs["Full"] / "rounds/001").exists()
    assert len(full["labeled"]) == len(state["labeled"]) + len(state["unlabeled"])
    shown = kneeal("study", "status", *arguments)
    assert shown.returncode == 0, shown.stderr
    assert "ENT + CR" in shown.stdout and "4 cells in" in shown.stdout


def test_a_cell_waits_for_that_of_a_killed_study_to_end(real: tuple[Path, list[str]], tmp_path: Path) -> None:
    config, run = tmp_path / "config.yaml", tmp_path / "run"
    few = {"active": {"strategy": "random", "n_init": 6, "budget": 6}, "loss": {"consistency": False}}
    config.write_text(yaml.safe_dump({**TINY, **few, "data": {"patch_size": 8, "dir": str(real[0] / "data")}}))
    ending = try_lock(run / LOCK)
    assert ending is not None
    released = threading.Timer(1.0, os.close, [ending])
    released.start()
    run_cell(config, run)
    released.join()
    assert RunFolder(run).finished


def test_no_study_file_is_one_message() -> None:
    done = kneeal("study")
    assert done.returncode == 2 and "no study file" in done.stderr and "Traceback" not in done.stderr


def test_a_data_set_that_is_not_there_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({"name": "s", "base": "demo"}))
    for command in (["study"], ["study", "cell", "--index", "0"]):
        where = ["--config", str(file), "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]
        refused(kneeal(*command, *where), f"no prepared data set in {tmp_path / 'nowhere'}")
        assert not (tmp_path / "out").exists()


def test_a_data_set_with_too_few_knees_is_refused_once_and_not_cell_by_cell(tmp_path: Path) -> None:
    assert kneeal("demo-data", "--out", tmp_path / "data", "--knees", "40").returncode == 0
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"name": "s", "base": "demo", "seeds": [0, 1]}))
    where = ["--config", tmp_path / "study.yaml", "--data", tmp_path / "data", "--out", tmp_path / "out"]
    refused(kneeal("study", *where), "for a pool of", "--set active.")
    assert not (tmp_path / "out").exists()
