"""kill -9 in the center of an archive; then the same command again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pydicom
import pytest
from helpers.archive import radiograph_header
from helpers.commands import done

from tools.radiographs import RadiographOptions, draw_radiograph

N = 24
COMMON = ("prepare", "dicom", "radiographs", "--out", "knees", "--markers", "ignore")


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with radiographs, which is the current one."""
    (tmp_path / "radiographs").mkdir()
    radiograph = draw_radiograph(1, 31, RadiographOptions(mm_per_px=0.5))
    header = radiograph_header(radiograph.gray, radiograph.mm_per_px, patient="0")
    for k in range(N):
        header.PatientID = f"p{k:03d}"
        header.save_as(tmp_path / "radiographs" / f"{k}.dcm", enforce_file_format=True)
    assert pydicom.dcmread(tmp_path / "radiographs" / "0.dcm").Rows > 600
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_what_is_finished_is_kept_and_the_data_set_is_the_same(inside: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "kneeal", *COMMON, "--workers", "2", "--work", "work"], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 600
    while process.poll() is None and time.monotonic() < until and len(list((inside / "work").glob("*/*.npz"))) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (inside / "knees").exists()
    # The workers notice that the command is gone, and go as well; what they were at is not lost half-written.
    while time.monotonic() < until and _alive(process.pid):
        time.sleep(0.05)
    assert not _alive(process.pid)
    finished = {path: path.stat().st_mtime_ns for path in (inside / "work").glob("*/*.npz")}
    assert 3 <= len(finished) < N
    said = done(*COMMON, "--workers", "0", "--work", "work")
    assert f"{2 * N} knees from {N} radiographs" in said
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    killed = files(inside / "knees")
    (inside / "knees").rename(inside / "first")
    done(*COMMON, "--workers", "0")
    assert files(inside / "knees") == killed and not (inside / ".knees.work").exists()


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
