from __future__ import annotations

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kneeal
from kneeal.errors import UserError
from kneeal.files import atomic_file, disk_errors, hold_lock, write_atomic

HOLDER = """
import sys
from pathlib import Path
from kneeal.files import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_or_waits_until_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process is working on"), hold_lock(path):
            pass
        with hold_lock(path, on_wait=holder.kill):  # waits, and gets it once the holder is gone
            assert holder.wait() != 0
    with hold_lock(path):
        pass


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_atomic(path, "first\n")
    write_atomic(path, b"second\r\n")
    assert path.read_bytes() == b"second\r\n"
    for error in (
        KeyboardInterrupt,
        OSError(28, "No space left on device"),
        RuntimeError("PytorchStreamWriter failed"),
    ):
        with pytest.raises((KeyboardInterrupt, UserError)), atomic_file(path) as temporary:
            temporary.write_text("half")
            raise error
    assert path.read_bytes() == b"second\r\n"
    assert [p.name for p in path.parent.iterdir()] == ["file"], "nothing half-written is left"


FULL = OSError(28, "No space left on device")
READ_ONLY = OSError(30, "Read-only file system")


@pytest.mark.parametrize("error", [FULL, READ_ONLY, PermissionError(13, "no"), RuntimeError("PytorchStreamWriter: 1")])
def test_a_disk_that_does_not_take_a_file_is_told_with_a_cure(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(UserError, match="cannot write") as told, disk_errors(tmp_path / "model"):
        raise error
    assert "free some space" in told.value.cure
    cause = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(UserError, match=r"cannot write .*No space left"), disk_errors(tmp_path):
        raise OSError(f"With tag (7FE0,0010) got exception: {cause}") from cause  # as pydicom says it
    with pytest.raises(RuntimeError, match="else"), disk_errors(tmp_path):
        raise RuntimeError("else")


def test_a_path_that_cannot_be_is_told_with_another_cure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write") as told:
        write_atomic(tmp_path / "file" / "below", "x")
    assert told.value.cure == f"give another path, or move {tmp_path / 'file'}"


def test_no_other_module_writes_whole_files_or_locks_by_hand() -> None:
    package = Path(kneeal.__file__).parent
    by_hand = re.compile(r"os\.fsync|\bflock\b|msvcrt|NamedTemporaryFile|\.(tmp|part)[\"']")
    found = {p.relative_to(package).as_posix() for p in package.rglob("*.py") if by_hand.search(p.read_text())}
    # The latter two know what a killed process left: one removes it, the other does not take it for a run.
    assert found == {"files.py", "loop/writer.py", "loop/folder.py"}
