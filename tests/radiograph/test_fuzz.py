"""Damaged files of every kind, read in a process of its own: no crash, 10 s a file, four times the decoded image."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pydicom
import pytest
from helpers.archive import PLANTED, radiograph_header
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid

ROWS, COLUMNS = 1000, 1200
#: Bytes of the decoded picture, and what the allocator and the libraries may take besides, whatever the picture.
DECODED, BESIDE = 2 * ROWS * COLUMNS, 12_000_000
TIMEOUT_S = 10
_y, _x = np.mgrid[:ROWS, :COLUMNS]
GRAY = (0.5 + 0.4 * np.sin(_x / 90) * np.cos(_y / 70)).astype(np.float32)

#: Reads the files whose names come line by line, and says what came of each and how much memory that took.
READER = """
import json, sys, time
from pathlib import Path
from kneeal.radiograph import RadiographError, ReadOptions, read_radiograph
import pydicom.pixels

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1000 for line in file if line.startswith(name))

for line in sys.stdin:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before, started = status("VmRSS"), time.process_time()
    try:
        radiograph = read_radiograph(Path(line.strip()), ReadOptions(mm_per_px=0.2))
        said = [radiograph.gray.size, str(radiograph.gray.dtype), min(radiograph.mm_per_px)]
    except RadiographError as error:
        said = str(error)
    print(json.dumps([said, status("VmHWM") - before, time.process_time() - started]), flush=True)
"""


class Seeds(dict[str, bytes]):
    """Whole files by kind; hypothesis prints the arguments of a failing test, and these are millions of bytes."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({sorted(self)})"


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    folder = tmp_path_factory.mktemp("seeds")
    found = Seeds()
    gray12 = np.rint(GRAY * 4095).astype(np.uint16)
    streams = {
        "jpeg": (uid.JPEGBaseline8Bit, imagecodecs.jpeg8_encode((gray12 >> 4).astype(np.uint8))),
        "extended": (uid.JPEGExtended12Bit, imagecodecs.jpeg8_encode(gray12, bitspersample=12)),
        "lossless": (
            uid.JPEGLosslessSV1, imagecodecs.jpeg8_encode(gray12, lossless=True, predictor=1, bitspersample=12),
        ),
        "jpeg-ls": (uid.JPEGLSLossless, imagecodecs.jpegls_encode(gray12)),
        "jpeg2000": (uid.JPEG2000Lossless, imagecodecs.jpeg2k_encode(gray12, reversible=True, codecformat="j2k")),
        "high-throughput": (uid.HTJ2KLossless, imagecodecs.htj2k_encode(gray12, reversible=True)),
        "plain": (None, b""),
        "rle": (uid.RLELossless, b""),
    }  # fmt: skip
    for kind, (syntax, stream) in streams.items():
        header = radiograph_header(GRAY, 0.2, patient="1")
        if stream:
            header.PixelData = pydicom.encaps.encapsulate([stream])
            header["PixelData"].VR = "OB"
            header.file_meta.TransferSyntaxUID = syntax
        elif syntax is not None:
            header.compress(syntax)
        header.save_as(folder / "x", enforce_file_format=True)
        found[kind] = (folder / "x").read_bytes()
    for kind in ("png", "tiff"):
        found[kind] = cv2.imencode(f".{kind}", np.rint(GRAY * 65535).astype(np.uint16))[1].tobytes()
    return found


class Reader:
    """The process; a new one where the last was ended."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def read(self, path: Path) -> tuple[Any, int, float]:
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the reader died of {path} with status {self.process.wait()}"
        said, memory, seconds = json.loads(line)
        return said, memory, seconds

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, seeds: Seeds) -> Iterator[Reader]:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of one file can be measured on Linux only")
    one = Reader()
    for kind, data in seeds.items():
        # Whole files first: the libraries take their memory once, and all of them can be read.
        path = tmp_path_factory.getbasetemp() / kind
        path.write_bytes(data)
        said, _, _ = one.read(path)
        assert said[:2] == [ROWS * COLUMNS, "uint8"], (kind, said)
    yield one
    one.end()


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_cost_little(
    reader: Reader, seeds: Seeds, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = bytearray(seeds[data.draw(st.sampled_from(sorted(seeds)))])
    # Where headers are: of the file, and of the stream behind it; and anywhere.
    places = st.one_of(st.integers(0, min(2500, len(whole) - 1)), st.integers(0, len(whole) - 1))
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=8)):
        whole[place] = value
    if data.draw(st.integers(0, 3)) == 0:
        del whole[data.draw(st.integers(1, len(whole) - 1)) :]
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(whole)
    said, memory, seconds = reader.read(path)
    # Of processor time, which other work on the machine does not change; a reader that sleeps runs into the timeout.
    assert seconds <= TIMEOUT_S, (seconds, said)
    assert memory <= 4 * DECODED + BESIDE, (memory, said)
    if isinstance(said, str):
        assert not any(value in said for value in PLANTED.values())
    else:
        assert said[1] == "uint8" and said[2] > 0
