"""Cells that are forked from a process with the heavy modules loaded."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import pytest

from kneeal.config import validate
from kneeal.study.cell import PROGRAM, ForkedCell, forkable, start_new

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cells are forked on Linux only")


def status(pid: int, key: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{key}:")))


def test_a_forked_cell_is_as_one_in_a_new_python(tmp_path: Path) -> None:
    """Of a configuration that is not there: log, error and exit status."""
    arguments = [str(tmp_path / name) for name in ("config.yaml", "run", "error")]
    environment = {**os.environ, "OMP_NUM_THREADS": "3"}
    logs = [tmp_path / "forked", tmp_path / "new"]
    starts = (ForkedCell, partial(start_new, PROGRAM))
    for start, log in zip(starts, logs, strict=True):
        log.write_text("first\n")
        cell = start(arguments, environment, log)
        assert cell.wait(200) == cell.poll() == 2
        assert (tmp_path / "error").read_text().startswith("no configuration file")
        (tmp_path / "error").unlink()
    assert logs[0].read_text() == logs[1].read_text()


def test_a_forked_cell_comes_from_a_process_of_one_thread_and_can_be_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")  # who opens it to write waits for a reader
    arguments = [str(tmp_path / name) for name in ("config.yaml", "run", "error")]
    cell = ForkedCell(arguments, {**os.environ}, tmp_path / "log")
    pid = cell.process.pid
    assert cell.poll() is None and pid is not None
    assert status(status(pid, "PPid"), "Threads") == 1
    cell.kill()
    assert cell.wait(100) == -9


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, True),
        ({"compute": {"accelerator": "gpu"}}, False),
        ({"compute": {"accelerator": "cpu", "devices": 2}}, False),
        ({"tracking": {"mode": "offline"}}, False),
    ],
)
def test_what_is_forked(keys: dict[str, dict[str, object]], expected: bool) -> None:
    base = {"compute": {"accelerator": "cpu"}, "tracking": {"mode": "none"}}
    assert forkable(validate({**base, **keys})) is expected
