"""Reading one radiograph."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from helpers.archive import PLANTED, radiograph_header
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from kneeal.data.patches import scale_intensities
from kneeal.errors import UserError
from kneeal.radiograph import RadiographError, ReadOptions, read_radiograph
from kneeal.radiograph.codestream import codestream_size
from kneeal.radiograph.dicom import read_patient_id
from kneeal.radiograph.gray import count_levels, lookup_table, weighted_percentile

GRAY = np.random.default_rng(0).random((40, 50), dtype=np.float32)


def save(path: Path, change: dict[str, Any] | None = None, *, number: int = 0) -> Path:
    header = radiograph_header(GRAY, 0.2, patient="9000001", number=number)
    for name, value in (change or {}).items():
        if value is None:
            delattr(header, name)
        else:
            setattr(header, name, value)
    header.save_as(path, enforce_file_format=True)
    return path


def test_a_deflated_data_set_is_never_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = radiograph_header(GRAY, 0.2, patient="9000001")
    header.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    header.save_as(tmp_path / "whole", enforce_file_format=True)
    (tmp_path / "bare").write_bytes((tmp_path / "whole").read_bytes()[132:])
    monkeypatch.setattr(zlib, "decompress", None)
    for name in ("whole", "bare"):
        for read in (read_radiograph, read_patient_id):
            with pytest.raises(RadiographError) as caught:
                read(tmp_path / name)
            assert caught.value.reason == "codec"


def test_the_patient_id_is_read_without_what_follows_it(tmp_path: Path) -> None:
    save(tmp_path / "a")
    whole = (tmp_path / "a").read_bytes()
    end = whole.index(b"9000001") + 8
    sequence = struct.pack("<HH2sHI", 0x0011, 0x1001, b"SQ", 0, 0xFFFFFFFF)
    (tmp_path / "b").write_bytes(whole[:end] + sequence + b"\x01" * 64)
    assert read_patient_id(tmp_path / "a") == read_patient_id(tmp_path / "b") == "9000001"


def rejection(path: Path, **options: Any) -> RadiographError:
    with pytest.raises(RadiographError) as caught:
        read_radiograph(path, ReadOptions(**options))
    assert not any(value in str(caught.value) for value in PLANTED.values())
    return caught.value


def test_values_are_those_of_the_whole_radiograph_scaled(tmp_path: Path) -> None:
    radiograph = read_radiograph(save(tmp_path / "a"))
    stored = np.rint(GRAY * 3600 + 200)
    assert np.abs(radiograph.gray.astype(int) - scale_intensities(stored)).max() <= 1
    assert radiograph.mm_per_px == (0.2, 0.2) and "9000001" not in repr(radiograph)


def test_monochrome1_shows_bone_bright_too(tmp_path: Path) -> None:
    plain, inverted = read_radiograph(save(tmp_path / "a")), read_radiograph(save(tmp_path / "b", number=1))
    assert np.abs(plain.gray.astype(int) - inverted.gray).max() <= 1


@given(st.lists(st.integers(0, 255), min_size=2, max_size=60), st.sampled_from([5.0, 50.0, 99.0]))
def test_percentiles_of_levels_are_numpys(values: list[int], percent: float) -> None:
    counts = count_levels(np.array(values, np.uint8), 256)
    found = weighted_percentile(np.arange(256.0)[counts > 0], counts[counts > 0], percent)
    assert found == pytest.approx(np.percentile(values, percent))


def test_a_flat_radiograph_has_no_table() -> None:
    with pytest.raises(RadiographError, match="one gray"):
        lookup_table(np.arange(4.0), np.array([0, 9, 0, 0]))


def test_signed_pixels_rescale_and_bits_above_those_stored(tmp_path: Path) -> None:
    stored = np.rint(GRAY * 3600 - 1800).astype(np.int16)
    changed = {
        "PixelData": ((stored & 0x0FFF) | np.int16(0x4000)).astype("<i2").tobytes(), "PixelRepresentation": 1,
        "RescaleSlope": 2, "RescaleIntercept": -5, "WindowCenter": None, "WindowWidth": None,
    }  # fmt: skip
    radiograph = read_radiograph(save(tmp_path / "a", changed))
    assert np.abs(radiograph.gray.astype(int) - scale_intensities(stored)).max() <= 1


def test_a_window_clips_and_can_be_left_out(tmp_path: Path) -> None:
    path = save(tmp_path / "a", {"WindowCenter": 1000, "WindowWidth": 400})
    clipped = np.clip(np.rint(GRAY * 3600 + 200), 800, 1200)
    assert np.abs(read_radiograph(path).gray.astype(int) - scale_intensities(clipped)).max() <= 2
    open_radiograph = read_radiograph(path, ReadOptions(apply_voi=False)).gray
    assert np.abs(open_radiograph.astype(int) - scale_intensities(np.rint(GRAY * 3600 + 200))).max() <= 1


def test_a_voi_lut_is_looked_up(tmp_path: Path) -> None:
    lut = Dataset()
    lut.LUTDescriptor = [4096, 0, 16]
    lut.add_new("LUTData", "US", [(v * v) >> 8 for v in range(4096)])
    radiograph = read_radiograph(save(tmp_path / "a", {"VOILUTSequence": [lut]}))
    stored = np.rint(GRAY * 3600 + 200).astype(int)
    assert np.abs(radiograph.gray.astype(int) - scale_intensities((stored * stored) >> 8)).max() <= 1


def test_a_codestream_larger_than_its_header_is_not_decoded(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", np.zeros((300, 400), np.uint8))[1].tobytes()
    size = codestream_size(jpeg)
    assert size is not None and size[:4] == (300, 400, 1, 8)
    header = radiograph_header(GRAY, 0.2, patient="1")
    header.PixelData = pydicom.encaps.encapsulate([jpeg])
    header["PixelData"].VR = "OB"
    header.BitsAllocated, header.BitsStored, header.HighBit = 8, 8, 7
    header.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    header.save_as(tmp_path / "c", enforce_file_format=True)
    assert rejection(tmp_path / "c").reason == "mismatch"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"PixelData": None}, "no_pixels"),
        ({"Rows": 41}, "truncated"),
        ({"Rows": 39}, "mismatch"),
        ({"Rows": 65000, "Columns": 65000}, "too_large"),
        ({"Rows": 0}, "mismatch"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "unreadable"),
        ({"SamplesPerPixel": 3}, "mismatch"),
        ({"NumberOfFrames": 2}, "frames"),
        ({"Modality": "MR"}, "modality"),
        ({"BitsStored": 17}, "mismatch"),
        ({"PixelSpacing": [0, 0]}, "spacing"),
        ({"PixelSpacing": ["nan", "nan"]}, "spacing"),
        ({"PixelSpacing": None}, "spacing"),
        ({"PixelData": bytes(4000)}, "flat"),
    ],
)
def test_bad_headers_are_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    assert rejection(save(tmp_path / "a", change)).reason == reason


def test_imager_spacing_is_divided_by_the_magnification(tmp_path: Path) -> None:
    change = {"PixelSpacing": None, "ImagerPixelSpacing": [0.22, 0.22], "EstimatedRadiographicMagnificationFactor": 1.1}
    path = save(tmp_path / "a", change)
    assert read_radiograph(path).mm_per_px == pytest.approx((0.2, 0.2))
    assert read_radiograph(path, ReadOptions(magnification=2.0)).mm_per_px == pytest.approx((0.11, 0.11))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_pictures(tmp_path: Path, suffix: str) -> None:
    deep = suffix != ".jpg"
    picture = (GRAY * (65535 if deep else 255)).astype(np.uint16 if deep else np.uint8)
    path = tmp_path / f"бедро{suffix}"
    path.write_bytes(cv2.imencode(suffix, picture)[1].tobytes())
    assert rejection(path).reason == "spacing"
    radiograph = read_radiograph(path, ReadOptions(mm_per_px=0.2))
    if deep:
        assert np.abs(radiograph.gray.astype(int) - scale_intensities(picture)).max() <= 1
    assert rejection(path, mm_per_px=0.2, max_pixels=1000).reason == "too_large"


def test_what_is_no_radiograph(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("hello")
    color = np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)
    (tmp_path / "color.png").write_bytes(cv2.imencode(".png", color)[1].tobytes())
    (tmp_path / "loop").symlink_to("loop")
    reasons = {p.name: rejection(p, mm_per_px=0.2).reason for p in tmp_path.iterdir()}
    assert reasons == {"empty": "unreadable", "text": "unreadable", "color.png": "color", "loop": "unreadable"}
    with pytest.raises(UserError, match="mm-per-px"):
        ReadOptions(mm_per_px=float("nan"))


@settings(max_examples=120)
@given(data=st.data())
def test_mutated_files_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Bounded: small files. Every outcome is a radiograph of the header's size or a rejection."""
    folder = tmp_path_factory.getbasetemp()
    whole = bytearray(_seed(folder, data.draw(st.sampled_from(["plain", "rle", "png"]))))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del whole[data.draw(st.integers(0, len(whole) - 1)) :]
    path = folder / "mutated"
    path.write_bytes(whole)
    try:
        radiograph = read_radiograph(path, ReadOptions(mm_per_px=0.2, max_pixels=10_000))
    except RadiographError as error:
        assert not any(value in str(error) for value in PLANTED.values())
    else:
        assert radiograph.gray.dtype == np.uint8 and radiograph.gray.size <= 10_000 and min(radiograph.mm_per_px) > 0


def _seed(folder: Path, kind: str) -> bytes:
    path = folder / f"seed_{kind}"
    if not path.exists():
        if kind == "png":
            path.write_bytes(cv2.imencode(".png", (GRAY * 65535).astype(np.uint16))[1].tobytes())
        else:
            header = radiograph_header(GRAY, 0.2, patient="1")
            if kind == "rle":
                header.compress(RLELossless)
            header.save_as(path, enforce_file_format=True)
    return path.read_bytes()


def test_gray_pictures_saved_in_color_are_gray(tmp_path: Path) -> None:
    gray = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (90, 120), np.uint8), (7, 7), 0)
    plain = Image.fromarray(gray)
    rgb = plain.convert("RGB")
    framed = np.array(rgb)
    framed[:2], framed[5:12, 100:115] = (255, 0, 0), (0, 200, 40)  # a frame and a mark
    forms: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "rounded.jpg": (Image.fromarray(np.dstack([gray, np.maximum(gray, 6) - 6, gray])), {"quality": 90}),
        "framed.png": (Image.fromarray(framed), {}),
        "cmyk.jpg": (rgb.convert("CMYK"), {"quality": 95}),
        "webp under another name.png": (rgb, {"format": "WEBP", "lossless": True}),
        "float.tif": (Image.fromarray(gray.astype(np.float32) / 255), {}),
    }
    for name, (picture, options) in forms.items():
        picture.save(tmp_path / name, **options)
        found = read_radiograph(tmp_path / name, ReadOptions(mm_per_px=0.5)).gray.astype(int)
        expected = scale_intensities(gray).astype(int)
        assert np.median(np.abs(found - expected)) <= 6, name
    # A tint is no frame: the bright parts, whose channels differ most, stay bright.
    sepia = np.rint(gray[..., None] * np.array([1, 0.92, 0.86]))
    Image.fromarray(sepia.astype(np.uint8)).save(tmp_path / "sepia.png")
    found = read_radiograph(tmp_path / "sepia.png", ReadOptions(mm_per_px=0.5)).gray.astype(int)
    assert np.abs(found - scale_intensities(gray)).max() <= 6


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_a_tiff_in_which_0_is_white_shows_bone_bright(tmp_path: Path, kind: type[Any]) -> None:
    gray = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (90, 120), np.uint8), (7, 7), 0)
    path = tmp_path / "white.tif"
    Image.fromarray((255 - gray).astype(kind)).save(path)
    black, white = (struct.pack("<HHIHH", 0x0106, 3, 1, photometric, 0) for photometric in (1, 0))
    assert path.read_bytes().count(black) == 1
    path.write_bytes(path.read_bytes().replace(black, white))
    found = read_radiograph(path, ReadOptions(mm_per_px=0.5)).gray.astype(int)
    assert np.abs(found - scale_intensities(gray)).max() <= 1


def test_a_picture_is_turned_as_exif_says_and_trailing_bytes_are_no_matter(tmp_path: Path) -> None:
    gray = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (90, 120), np.uint8), (7, 7), 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    for suffix in ("png", "jpg", "tif"):
        Image.fromarray(np.rot90(gray)).save(tmp_path / f"turned.{suffix}", exif=exif)
        found = read_radiograph(tmp_path / f"turned.{suffix}", ReadOptions(mm_per_px=0.5)).gray
        assert found.shape == gray.shape
        assert np.abs(found.astype(int) - scale_intensities(gray)).mean() < 8
    path = tmp_path / "trailing.png"
    Image.fromarray(gray).save(path)
    path.write_bytes(path.read_bytes() + b"\0some more" * 40)
    assert np.array_equal(read_radiograph(path, ReadOptions(mm_per_px=0.5)).gray, scale_intensities(gray))


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RadiographError, match="pipe"):
        read_radiograph(tmp_path / "pipe")
