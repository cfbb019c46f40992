"""Cells that are forked from a process with the heavy modules loaded."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from kneeal.config import validate
from kneeal.files import try_lock
from kneeal.study import process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cells are forked on Linux only")


def status(pid: int, key: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{key}:")))


def test_a_forked_cell_is_as_one_in_a_new_python(tmp_path: Path) -> None:
    """Of a configuration that is not there: log, error, exit status and lock, and the server has one thread."""
    lock = tmp_path / "lock"
    handle = try_lock(lock)
    assert handle is not None
    arguments = [str(tmp_path / name) for name in ("config.yaml", "run", "error")]
    environment = {**os.environ, "OMP_NUM_THREADS": "3"}
    codes = []
    for program, log in ((None, tmp_path / "forked"), (process.PROGRAM, tmp_path / "new")):
        log.write_text("first\n")
        cell = process.start(arguments, environment=environment, log=log, lock=handle, program=program)
        codes.append(cell.wait(200))
        assert cell.poll() == codes[-1]
        assert (tmp_path / "error").read_text().startswith("no configuration file")
        (tmp_path / "error").unlink()
    assert codes == [2, 2]
    assert (tmp_path / "forked").read_text() == (tmp_path / "new").read_text()


def test_a_forked_cell_holds_the_lock_until_it_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")  # who opens it to write waits for a reader
    handle = try_lock(tmp_path / "lock")
    assert handle is not None
    arguments = [str(tmp_path / name) for name in ("config.yaml", "run", "error")]
    cell = process.start(arguments, environment={**os.environ}, log=tmp_path / "log", lock=handle)
    os.close(handle)
    assert isinstance(cell, process._Forked) and cell.poll() is None
    pid = cell._process.pid
    assert pid is not None and status(status(pid, "PPid"), "Threads") == 1, "the server has one thread"
    assert try_lock(tmp_path / "lock") is None
    cell.kill()
    assert cell.wait(100) == -9
    again = try_lock(tmp_path / "lock")
    assert again is not None
    os.close(again)


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
    assert process.forkable(validate({**base, **keys})) is expected
