"""SIGTERM and Ctrl-C: the command ends soon, says how to go on, and its run resumes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import QUICK, kneeal
from helpers.knees import pairs, table

from kneeal.data.prepared import write_prepared

#: Trains for minutes, or predicts for minutes.
LONG_FIT = ("--set", "training.epochs=100000")
LONG_PREDICTION = ("--set", "active.options.n_samples=20000", "--set", "training.eval_batch_size=1")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals") / "data"
    write_prepared(folder, table(40), pairs(80, 16), source="test", options={}, patch_px=16)
    return folder


#: A command in an interpreter that takes minutes to be taken apart, as one does that is loaded with torch on a machine
#: that others fill. No signal is handled then.
SLOW_TO_END = """
import time

class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(600)

slow = Slow()
from kneeal.cli import main
main()
"""
#: Seconds for a process to end, on a loaded machine, and before a slow interpreter is taken apart.
PATIENCE = 300

pytestmark = pytest.mark.timeout(1200)


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SLOW_TO_END, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stop(process: subprocess.Popen[str], signum: int, when: Callable[[], bool]) -> str:
    deadline = time.monotonic() + PATIENCE
    while not when():
        assert process.poll() is None and time.monotonic() < deadline, process.stderr and process.stderr.read()
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signum)
    _, said = process.communicate(timeout=PATIENCE)
    return said


@pytest.mark.parametrize(("when", "signum", "status"), [("predict", signal.SIGTERM, 143), ("fit", signal.SIGINT, 130)])
def test_a_run_that_is_stopped_says_how_to_go_on_and_does(
    tmp_path: Path, data: Path, when: str, signum: int, status: int
) -> None:
    run, rounds = tmp_path / "run", tmp_path / "run/rounds/000"
    given = ("fit", "--data", data, "--out", run, "--strategy", "mi_mcd", *QUICK)
    process = start(*given, *(LONG_FIT if when == "fit" else LONG_PREDICTION))
    mark = rounds / ("fit" if when == "fit" else "best.ckpt")
    said = stop(process, signum, lambda: mark.exists() or (when == "fit" and (rounds / "state.json").exists()))
    assert process.returncode == status, said
    assert f"stopped by {signal.Signals(signum).name}" in said and "--resume" in said and "Traceback" not in said
    assert not (rounds / "query.json").exists()
    assert not list(run.rglob("*.tmp"))
    # The epochs and samples of the long one identify it, so that another one shows that its round is usable.
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(
        text.replace("epochs: 100000", "epochs: 1").replace("n_samples: 20000", "n_samples: 2")
    )
    done = kneeal(*given, "--resume")
    assert done.returncode == 0, done.stderr
    assert len(json.loads((run / "rounds/002/query.json").read_text())["ids"]) == 0


STUBBORN = """
import sys, time
from kneeal.jobs import process

process.GRACE = 0.5
with process.exit_on_signals("start again"):
    print("ready", flush=True)
    while True:
        try:
            time.sleep(0.1)
        except BaseException:
            pass
"""
OVERRIDDEN = STUBBORN.replace(
    "    while True", "    import signal; signal.signal(signal.SIGTERM, lambda *a: None)\n    while True"
)


@pytest.mark.parametrize("program", [STUBBORN, OVERRIDDEN])
def test_a_signal_that_is_swallowed_ends_the_process_all_the_same(program: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert said == "kneeal: stopped by SIGTERM; start again\n"


def test_work_that_went_wrong_because_of_a_signal_is_no_failure_of_its_own() -> None:
    program = STUBBORN.replace("pass\n", "sys.exit(0)\n")
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "SIGINT" in said


@pytest.mark.parametrize(
    ("command", "status"),
    [("print('done')", 0), ("sys.exit(3)", 3), ("sys.exit('a message')", 1), ("1 / 0", 1), ("sys.exit()", 0)],
)
def test_a_command_ends_with_its_status_and_what_it_left_to_do(command: str, status: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    program = SLOW_TO_END.partition("from kneeal")[0] + (
        "import atexit, pathlib, sys; from kneeal.jobs.process import run_and_exit\n"
        f"def work():\n    atexit.register(pathlib.Path({str(mark)!r}).touch); {command}\n"
        "run_and_exit(work)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == status and mark.exists()
    assert done.stdout == ("done\n" if "print" in command else "")
    assert ("ZeroDivisionError" in done.stderr) == ("/" in command) and ("a message" in done.stderr) == (
        "mess" in command
    )


def test_output_that_cannot_be_written_is_no_success() -> None:
    program = "from kneeal.jobs.process import run_and_exit; run_and_exit(lambda: print('lost'))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", program], stdout=full, env={**os.environ, "PYTHONUNBUFFERED": ""})
    assert done.returncode == 120
