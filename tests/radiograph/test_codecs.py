"""Every transfer syntax that a radiograph may come in: what is read is what was encoded."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from helpers.archive import radiograph_header
from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder

from kneeal.radiograph import RadiographError, ReadOptions, read_radiograph

ROWS, COLUMNS = 90, 110
# Smooth as a radiograph is, so that a lossy codec changes it by a few levels only.
_y, _x = np.mgrid[:ROWS, :COLUMNS]
GRAY = (0.5 + 0.3 * np.sin(_x / 17) * np.cos(_y / 13) + 0.2 * (_x / COLUMNS)).astype(np.float32).clip(0, 1)
OPEN = ReadOptions(apply_voi=False)


def plain(path: Path, *, bits: int = 12, number: int = 0) -> pydicom.dataset.FileDataset:
    header = radiograph_header(GRAY, 0.2, patient="1", number=number)
    if bits == 8:
        header.PixelData = np.rint(GRAY * 255).astype(np.uint8).tobytes()
        header.BitsAllocated, header.BitsStored, header.HighBit = 8, 8, 7
    header.save_as(path, enforce_file_format=True)
    return header


def by_pydicom(path: Path, syntax: uid.UID, bits: int) -> None:
    header = plain(path, bits=bits)
    options = (
        {"j2k_cr": [4]} if syntax == uid.JPEG2000 else {"jls_error": 2} if syntax == uid.JPEGLSNearLossless else {}
    )
    try:
        header.compress(syntax, **options)
    except RuntimeError as error:
        pytest.skip(f"no encoder for {syntax.name}: {error}")
    header.save_as(path, enforce_file_format=True)


def by_opencv(path: Path, syntax: uid.UID, bits: int) -> None:
    header = plain(path, bits=bits)
    data = cv2.imencode(".jpg", np.rint(GRAY * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 97])[1].tobytes()
    header.PixelData = pydicom.encaps.encapsulate([data])
    header["PixelData"].VR = "OB"
    header.file_meta.TransferSyntaxUID = syntax
    header.save_as(path, enforce_file_format=True)


def by_gdcm(path: Path, syntax: uid.UID, bits: int) -> None:
    gdcm = pytest.importorskip("gdcm", reason="the extra `dicom` (python-gdcm) is not installed")
    plain(path, bits=bits)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(reader.GetImage())
    if not change.Change():
        pytest.skip(f"GDCM cannot write {syntax.name}")
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def codec(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"the extra `dicom` ({name}) is not installed")


@pytest.mark.parametrize(
    ("syntax", "encode", "bits", "levels", "needs"),
    [
        (uid.RLELossless, by_pydicom, 8, 0, "pydicom"),
        (uid.RLELossless, by_pydicom, 12, 0, "pydicom"),
        (uid.JPEGBaseline8Bit, by_opencv, 8, 4, "PIL"),
        (uid.JPEGExtended12Bit, by_opencv, 8, 4, "PIL"),
        (uid.JPEGLossless, by_gdcm, 12, 0, "gdcm"),
        (uid.JPEGLosslessSV1, by_gdcm, 8, 0, "gdcm"),
        (uid.JPEGLosslessSV1, by_gdcm, 12, 0, "gdcm"),
        (uid.JPEGLSLossless, by_pydicom, 8, 0, "jpeg_ls"),
        (uid.JPEGLSLossless, by_pydicom, 12, 0, "jpeg_ls"),
        (uid.JPEGLSNearLossless, by_pydicom, 12, 2, "jpeg_ls"),
        (uid.JPEG2000Lossless, by_pydicom, 8, 0, "openjpeg"),
        (uid.JPEG2000Lossless, by_pydicom, 12, 0, "openjpeg"),
        (uid.JPEG2000, by_pydicom, 12, 4, "openjpeg"),
    ],
    ids=lambda value: re.sub(r"\W+", "-", value.name) if isinstance(value, uid.UID) else None,
)
def test_what_is_read_is_what_was_encoded(
    tmp_path: Path, syntax: uid.UID, encode: object, bits: int, levels: int, needs: str
) -> None:
    codec(needs)
    plain(tmp_path / "plain", bits=bits)
    encode(tmp_path / "coded", syntax, bits)  # type: ignore[operator]
    assert pydicom.dcmread(tmp_path / "coded").file_meta.TransferSyntaxUID == syntax
    expected, found = (read_radiograph(tmp_path / name, OPEN).gray for name in ("plain", "coded"))
    assert found.shape == (ROWS, COLUMNS) and np.ptp(found) == 255
    assert np.abs(expected.astype(int) - found).max() <= levels


def test_twelve_bit_jpeg_extended_is_refused_with_the_cure(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    codec("gdcm")
    by_gdcm(tmp_path / "coded", uid.JPEGExtended12Bit, 12)
    if "pylibjpeg" in get_decoder(uid.JPEGExtended12Bit).available_plugins:
        pytest.skip("pylibjpeg-libjpeg is installed, which reads it")
    with pytest.raises(RadiographError, match="dcmdjpeg") as caught:
        read_radiograph(tmp_path / "coded", OPEN)
    assert caught.value.reason == "codec"
    # pydicom would log a traceback of each plugin that failed.
    assert capfd.readouterr().err == "" and not caplog.records


def test_monochrome1_is_inverted_after_decoding_too(tmp_path: Path) -> None:
    header = plain(tmp_path / "a", number=1)
    header.compress(uid.RLELossless)
    header.save_as(tmp_path / "b", enforce_file_format=True)
    plain(tmp_path / "c")
    inverted, proper = (read_radiograph(tmp_path / name, OPEN).gray.astype(int) for name in ("b", "c"))
    assert np.abs(inverted - proper).max() <= 1


def test_no_dependency_is_under_the_gpl() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    if not project.is_file():
        pytest.skip("an installed package has no pyproject.toml")
    # pydicom would use it for JPEG; it is GPL-3. GDCM does the same work.
    assert 'libjpeg"' not in project.read_text() and "pylibjpeg-libjpeg" not in project.read_text()
    assert "pylibjpeg-libjpeg" not in (project.parent / "constraints.txt").read_text()
