"""Whatever a folder may hold: each file gives a reason in rejected.csv, each wrong table one message."""

from __future__ import annotations

import csv
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from helpers.archive import radiograph_header, write_test_archive
from helpers.commands import done, kneeal, refused
from pydicom.dataset import FileDataset

from tools.radiographs import RadiographOptions, draw_radiograph

FILM = draw_radiograph(0, 31, RadiographOptions(mm_per_px=0.6))


def changed(**values: Any) -> Callable[[FileDataset], None]:
    def change(header: FileDataset) -> None:
        for name, value in values.items():
            if value is None:
                delattr(header, name)
            else:
                setattr(header, name, value)

    return change


def encapsulated(syntax: pydicom.uid.UID, data: bytes, **values: Any) -> Callable[[FileDataset], None]:
    def change(header: FileDataset) -> None:
        changed(**values)(header)
        header.PixelData = pydicom.encaps.encapsulate([data])
        header["PixelData"].VR = "OB"
        header.file_meta.TransferSyntaxUID = syntax

    return change


def palette(header: FileDataset) -> None:
    header.PhotometricInterpretation = "PALETTE COLOR"
    for color in ("Red", "Green", "Blue"):
        setattr(header, f"{color}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(header, f"{color}PaletteColorLookupTableData", bytes(range(256)) * 2 if color == "Red" else bytes(512))


#: A JPEG 2000 stream that says 60,000 x 60,000 px, in 60 bytes; the same as a JPEG.
J2K_BOMB = (
    b"\xff\x4f\xff\x51" + struct.pack(">HH8IH", 41, 0, 60000, 60000, 0, 0, 60000, 60000, 0, 0, 1) + b"\x07\x01\x01"
)
JPEG_BOMB = b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, 60000, 60000, 1) + b"\x01\x11\x00\xff\xd9"

BAD: dict[str, tuple[Callable[[FileDataset], None], str]] = {
    "no pixels": (changed(PixelData=None), "no_pixels"),
    "rows": (changed(Rows=FILM.gray.shape[0] + 7), "truncated"),
    "columns": (changed(Columns=FILM.gray.shape[1] - 7), "mismatch"),
    "bomb": (changed(Rows=65000, Columns=65000), "too_large"),
    "bomb.j2k": (encapsulated(pydicom.uid.JPEG2000Lossless, J2K_BOMB), "mismatch"),
    "bomb.j2k.honest": (encapsulated(pydicom.uid.JPEG2000Lossless, J2K_BOMB, Rows=60000, Columns=60000), "too_large"),
    "bomb.jpg": (encapsulated(pydicom.uid.JPEGLosslessSV1, JPEG_BOMB), "mismatch"),
    "bomb.rle": (encapsulated(pydicom.uid.RLELossless, bytes([129, 0]) * 3_000_000), "mismatch"),
    "nothing": (encapsulated(pydicom.uid.JPEGLosslessSV1, b"\xff\xd8\xff\xd9"), "unreadable"),
    "codec": (encapsulated(pydicom.uid.UID("1.2.840.10008.1.2.4.100"), b"mpeg"), "codec"),
    "palette": (palette, "color"),
    "rgb": (changed(PhotometricInterpretation="RGB", SamplesPerPixel=3), "truncated"),
    "nan": (changed(PixelSpacing=["nan", "nan"]), "spacing"),
    "zero": (changed(PixelSpacing=[0, 0]), "spacing"),
    "infinite": (changed(PixelSpacing=["inf", "0.2"]), "spacing"),
    "none": (changed(PixelSpacing=None), "spacing"),
    "flat": (changed(PixelData=bytes(2 * FILM.gray.size)), "flat"),
}


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("radiographs")
    for name, (change, _) in {"good бедро é": (changed(), ""), **BAD}.items():
        header = radiograph_header(FILM.gray, FILM.mm_per_px, patient=f"p {name}")
        change(header)
        header.save_as(folder / f"{name}.dcm", enforce_file_format=True)
    radiograph_header(FILM.gray, FILM.mm_per_px, patient="p cut").save_as(folder / "cut", enforce_file_format=True)
    whole = (folder / "cut").read_bytes()
    (folder / "cut").unlink()
    (folder / "cut in the pixels.dcm").write_bytes(whole[: len(whole) // 2])
    (folder / "cut in the header.dcm").write_bytes(whole[:200])
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "a picture.png").write_bytes(cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1].tobytes())
    (folder / "loop").symlink_to("loop")
    (folder / "round").symlink_to(folder, target_is_directory=True)
    return folder


def reasons(out: Path) -> dict[str, str]:
    return {row["path"]: row["reason"] for row in csv.DictReader((out / "rejected.csv").open(encoding="utf-8"))}


def test_each_bad_radiograph_has_its_reason_and_the_good_one_is_prepared(radiographs: Path, tmp_path: Path) -> None:
    said = kneeal("prepare", "dicom", radiographs, "--out", tmp_path / "out", "--markers", "ignore", "--workers", "0")
    assert said.returncode == 0 and "Traceback" not in said.stderr, said.stderr
    assert "2 knees from" in said.stdout
    expected = {f"{name}.dcm": reason for name, (_, reason) in BAD.items()}
    expected |= {"cut in the pixels.dcm": "truncated", "cut in the header.dcm": "no_patient", "empty.dcm": "no_patient",
                 "a picture.png": "no_patient", "loop": "unreadable"}  # fmt: skip
    found = reasons(tmp_path / "out")
    assert {name: found.get(name) for name in expected} == expected
    details = {
        row["path"]: row["detail"] for row in csv.DictReader((tmp_path / "out/rejected.csv").open(encoding="utf-8"))
    }
    # Beside what was found, what to do about it.
    assert "convert the file" in details["codec.dcm"] and "--mm-per-px" in details["none.dcm"]


def test_pictures_of_a_table_are_read_or_refused(radiographs: Path, tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(cv2.imencode(".png", np.rint(FILM.gray * 65535).astype(np.uint16))[1].tobytes())

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(99))))
    color = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    (tmp_path / "color.png").write_bytes(cv2.imencode(".png", color)[1].tobytes())
    table = tmp_path / "t.csv"
    table.write_text("patient,side,grade,file\na,R,1,good.png\na,L,2,good.png\nb,R,1,bomb.png\nc,R,1,color.png\n"
                     "d,R,1,../secret.png\ne,R,1,/etc/hostname\n")  # fmt: skip
    common = ("prepare", "dicom", tmp_path, "--table", table, "--path-column", "file", "--markers", "ignore",
              "--workers", "0")  # fmt: skip
    refused(kneeal(*common, "--out", tmp_path / "none"), "no knee could be used", "--mm-per-px")
    assert "2 knees from" in done(*common, "--out", tmp_path / "out", "--mm-per-px", "0.6")
    found = reasons(tmp_path / "out")
    assert {found[name] for name in ("../secret.png", "/etc/hostname")} == {"outside"}
    assert (found["bomb.png"], found["color.png"]) == ("too_large", "color")


def test_wrong_tables_are_one_message(radiographs: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    for text, said in (
        ("patient,side\na,R\n", "grade"), ("patient,side,grade\nnobody,R,2\n", "nobody"), ("", "grade"),
        ("patient,side,grade\nnobody,up,2\n", "line 2"), ("\x00\x01\x02", "not text"),
    ):  # fmt: skip
        table.write_text(text)
        refused(kneeal("prepare", "dicom", radiographs, "--out", tmp_path / "out", "--table", table), said)
        assert not (tmp_path / "out").exists()
    write_test_archive(tmp_path / "oai", patients=1, mm_per_px=1.0)
    (tmp_path / "oai" / "enrollees.txt").unlink()
    refused(kneeal("prepare", "oai", tmp_path / "oai", "--out", tmp_path / "out"), "enrollees")
    refused(kneeal("prepare", "oai", tmp_path / "oai", "--out", tmp_path / "out", "--visit", "7"), "--visit 7")
    refused(kneeal("prepare", "most", tmp_path / "oai", "--out", tmp_path / "out"), "mostv01235xray")
    refused(kneeal("prepare", "dicom", tmp_path / "gone", "--out", tmp_path / "out"), "gone")
    (tmp_path / "void").mkdir()
    refused(kneeal("prepare", "dicom", tmp_path / "void", "--out", tmp_path / "out"), "no file")
