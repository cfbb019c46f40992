"""Every way in which a DICOM radiograph may be stored: what is read is what was stored."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from helpers.archive import radiograph_header
from pydicom import uid
from pydicom.encaps import encapsulate

from kneeal.radiograph import RadiographError, ReadOptions, read_radiograph

ROWS, COLUMNS = 90, 110
# Smooth as a radiograph is, so that a lossy codec changes it by a few levels only.
_y, _x = np.mgrid[:ROWS, :COLUMNS]
GRAY = (0.5 + 0.3 * np.sin(_x / 17) * np.cos(_y / 13) + 0.2 * (_x / COLUMNS)).astype(np.float32).clip(0, 1)
OPEN = ReadOptions(apply_voi=False)
Encode = Callable[[Any, int], bytes]


def plain(bits: int = 12, allocated: int = 16, **tags: Any) -> tuple[pydicom.dataset.FileDataset, Any]:
    """A header with uncompressed pixels, and the pixels; tags as given."""
    header = radiograph_header(GRAY, 0.2, patient="1")
    pixels = np.rint(GRAY * ((1 << bits) - 1)).astype(f"<u{allocated // 8}")
    header.PixelData = pixels.tobytes()
    header.BitsAllocated, header.BitsStored, header.HighBit = allocated, bits, bits - 1
    header["PixelData"].VR = "OW" if allocated == 16 else "OB"
    for name, value in tags.items():
        setattr(header, name, value)
    return header, pixels


def read(path: Path, header: pydicom.dataset.FileDataset) -> Any:
    header.save_as(path / "x", enforce_file_format=True)
    return read_radiograph(path / "x", OPEN).gray.astype(int)


def encoded(header: pydicom.dataset.FileDataset, syntax: uid.UID, *fragments: bytes, table: bool = True) -> None:
    """Give a header a compressed frame, in several fragments, with or without a table of offsets."""
    header.PixelData = encapsulate([b"".join(fragments)], fragments_per_frame=len(fragments), has_bot=table)
    header["PixelData"].VR = "OB"
    header.file_meta.TransferSyntaxUID = syntax


def jpeg(pixels: Any, bits: int) -> bytes:
    return imagecodecs.jpeg8_encode(pixels.astype(np.uint8) if bits == 8 else pixels, level=98, bitspersample=bits)


def lossless(pixels: Any, bits: int, predictor: int = 1) -> bytes:
    bits = 8 * pixels.dtype.itemsize if pixels.dtype == np.uint8 else bits
    return imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=predictor, bitspersample=bits)


def jpeg_ls(pixels: Any, bits: int) -> bytes:
    return imagecodecs.jpegls_encode(pixels)


def jpeg_ls_near(pixels: Any, bits: int) -> bytes:
    """Of 16 bit: the brightest pixels, of 4095, come out as up to 4097."""
    return imagecodecs.jpegls_encode(pixels, level=2)


def jpeg_2000(pixels: Any, bits: int, boxes: str = "j2k") -> bytes:
    return imagecodecs.jpeg2k_encode(pixels, reversible=True, codecformat=boxes, bitspersample=bits)


def jpeg_2000_lossy(pixels: Any, bits: int) -> bytes:
    return imagecodecs.jpeg2k_encode(pixels, reversible=False, level=60, codecformat="j2k", bitspersample=bits)


def high_throughput(pixels: Any, bits: int) -> bytes:
    return imagecodecs.htj2k_encode(pixels, reversible=True)


@pytest.mark.parametrize(
    ("syntax", "encode", "bits", "allocated", "levels"),
    [
        (uid.JPEGBaseline8Bit, jpeg, 8, 8, 4),
        (uid.JPEGBaseline8Bit, jpeg, 8, 16, 4),
        (uid.JPEGExtended12Bit, jpeg, 8, 8, 4),
        (uid.JPEGExtended12Bit, jpeg, 12, 16, 2),
        (uid.JPEGLossless, lambda pixels, bits: lossless(pixels, bits, 6), 12, 16, 0),
        (uid.JPEGLosslessSV1, lossless, 8, 8, 0),
        (uid.JPEGLosslessSV1, lossless, 12, 16, 0),
        (uid.JPEGLosslessSV1, lossless, 16, 16, 0),
        (uid.JPEGLSLossless, jpeg_ls, 8, 8, 0),
        (uid.JPEGLSLossless, jpeg_ls, 12, 16, 0),
        (uid.JPEGLSNearLossless, jpeg_ls_near, 12, 16, 2),
        (uid.JPEG2000Lossless, jpeg_2000, 8, 8, 0),
        (uid.JPEG2000Lossless, jpeg_2000, 12, 16, 0),
        (uid.JPEG2000Lossless, lambda pixels, bits: jpeg_2000(pixels, bits, "jp2"), 16, 16, 0),
        (uid.JPEG2000, jpeg_2000_lossy, 12, 16, 6),
        (uid.HTJ2KLossless, high_throughput, 12, 16, 0),
        (uid.HTJ2KLosslessRPCL, high_throughput, 8, 8, 0),
        (uid.HTJ2K, high_throughput, 16, 16, 0),
    ],
)
def test_what_is_read_is_what_was_encoded(
    tmp_path: Path, syntax: uid.UID, encode: Encode, bits: int, allocated: int, levels: int
) -> None:
    header, pixels = plain(bits, allocated)
    expected = read(tmp_path, header)
    stream = encode(pixels, bits)
    third = len(stream) // 6 * 2
    for fragments in ((stream,), (stream[:third], stream[third : 2 * third], stream[2 * third :])):
        for table in (True, False):
            encoded(header, syntax, *fragments, table=table)
            found = read(tmp_path, header)
            assert found.shape == (ROWS, COLUMNS) and np.ptp(found) == 255
            assert np.abs(expected - found).max() <= levels


@pytest.mark.parametrize(("bits", "allocated"), [(8, 8), (12, 16), (16, 16)])
def test_run_lengths_and_signed_and_inverted_pixels(tmp_path: Path, bits: int, allocated: int) -> None:
    header, pixels = plain(bits, allocated)
    expected = read(tmp_path, header)
    header.compress(uid.RLELossless)
    assert np.array_equal(read(tmp_path, header), expected)
    header, _ = plain(bits, allocated, PhotometricInterpretation="MONOCHROME1")
    encoded(header, uid.JPEGLosslessSV1, lossless((1 << bits) - 1 - pixels, bits))
    assert np.abs(read(tmp_path, header) - expected).max() <= 1
    header, _ = plain(bits, allocated, PixelRepresentation=1)
    signed = (pixels.astype(np.int32) - (1 << (bits - 1))).astype(f"i{allocated // 8}")
    encoded(header, uid.JPEG2000Lossless, jpeg_2000(signed, bits))
    assert np.array_equal(read(tmp_path, header), expected)
    encoded(header, uid.JPEGLosslessSV1, lossless(signed.view(pixels.dtype) & ((1 << bits) - 1), bits))
    assert np.array_equal(read(tmp_path, header), expected)


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (uid.JPEGExtended12Bit, jpeg),
        (uid.JPEGLosslessSV1, lossless),
        (uid.JPEGLSLossless, jpeg_ls),
        (uid.JPEG2000Lossless, jpeg_2000),
        (uid.HTJ2KLossless, high_throughput),
    ],
)
def test_a_stream_that_is_cut_off_is_refused_at_once(tmp_path: Path, syntax: uid.UID, encode: Encode) -> None:
    """libjpeg fills up what is missing with gray, and CharLS looks for the end for ever."""
    header, pixels = plain()
    noisy = pixels ^ np.random.default_rng(0).integers(0, 64, pixels.shape, np.uint16)
    stream = encode(noisy, 12)
    for share in (0.3, 0.6, 0.9):
        encoded(header, syntax, stream[: int(share * len(stream)) // 2 * 2])
        with pytest.raises(RadiographError) as caught:
            read(tmp_path, header)
        assert caught.value.reason == "truncated"


def test_a_stream_of_very_many_tiles_is_not_decoded(tmp_path: Path) -> None:
    """OpenJPEG takes 10 kB for each: 100 MB for this one."""
    header, pixels = plain()
    stream = bytearray(jpeg_2000(pixels, 12))
    struct.pack_into(">II", stream, 24, 1, 1)
    encoded(header, uid.JPEG2000Lossless, bytes(stream))
    with pytest.raises(RadiographError, match="no valid header"):
        read(tmp_path, header)


def test_an_unknown_transfer_syntax_is_refused_with_the_cure(tmp_path: Path) -> None:
    for name in ("1.2.840.10008.1.2.4.100", "1.2.840.113619.5.2"):
        header, _ = plain()
        encoded(header, uid.UID(name), b"some")
        header.save_as(tmp_path / "x", implicit_vr=False, little_endian=True, enforce_file_format=True)
        with pytest.raises(RadiographError, match="dcmconv") as caught:
            read_radiograph(tmp_path / "x", OPEN)
        assert caught.value.reason == "codec"


def in_color(photometric: str, planar: int = 0, allocated: int = 8) -> tuple[pydicom.dataset.FileDataset, Any]:
    header, gray = plain(allocated, allocated)
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PlanarConfiguration = 3, photometric, planar
    neutral = np.full_like(gray, 128)
    pixels = np.dstack([gray, gray, gray] if photometric == "RGB" else [gray, neutral, neutral])
    if photometric == "YBR_FULL_422":
        header.PixelData = np.dstack([gray[:, ::2], gray[:, 1::2], neutral[:, ::2], neutral[:, ::2]]).tobytes()
    else:
        header.PixelData = (pixels.transpose(2, 0, 1) if planar else pixels).tobytes()
    return header, pixels


@pytest.mark.parametrize(
    ("photometric", "planar", "allocated"),
    [("RGB", 0, 8), ("RGB", 1, 8), ("RGB", 0, 16), ("YBR_FULL", 0, 8), ("YBR_FULL", 1, 8), ("YBR_FULL_422", 0, 8)],
)
def test_gray_saved_in_color_is_gray(tmp_path: Path, photometric: str, planar: int, allocated: int) -> None:
    expected = read(tmp_path, plain(allocated, allocated)[0])
    header, _ = in_color(photometric, planar, allocated)
    assert np.abs(read(tmp_path, header) - expected).max() <= 1


def test_gray_compressed_in_color_is_gray_and_a_color_is_not(tmp_path: Path) -> None:
    expected = read(tmp_path, plain(8, 8)[0])
    for photometric, pixels in (("RGB", in_color("RGB")[1]), ("YBR_FULL", in_color("YBR_FULL")[1])):
        streams = {
            uid.JPEGLosslessSV1: imagecodecs.jpeg8_encode(
                pixels, lossless=True, predictor=1, colorspace="RGB", outcolorspace="RGB"
            ),
            uid.JPEGBaseline8Bit: imagecodecs.jpeg8_encode(
                pixels, level=98, colorspace="YCBCR", outcolorspace="YCBCR", subsampling="444"
            ),
            uid.JPEGLSLossless: imagecodecs.jpegls_encode(pixels),
            uid.JPEG2000Lossless: imagecodecs.jpeg2k_encode(pixels, reversible=True, codecformat="j2k", mct=False),
        }
        for syntax, stream in streams.items():
            header, _ = in_color(photometric)
            encoded(header, syntax, stream)
            assert np.abs(read(tmp_path, header) - expected).max() <= 4
    header, pixels = in_color("RGB")
    header.PixelData = np.dstack([pixels[..., 0], pixels[..., 1], 255 - pixels[..., 2]]).tobytes()
    with pytest.raises(RadiographError, match="color"):
        read(tmp_path, header)


@pytest.mark.parametrize("bits", [8, 12])
def test_a_gray_palette_is_gray_and_another_is_not(tmp_path: Path, bits: int) -> None:
    header, pixels = plain(bits, 8 if bits == 8 else 16)
    expected = read(tmp_path, header)
    header.PhotometricInterpretation = "PALETTE COLOR"
    header.PixelData = ((1 << bits) - 1 - pixels).tobytes()
    grays = np.linspace(65535, 0, 1 << bits).astype("<u2")
    for color in ("Red", "Green", "Blue"):
        setattr(header, f"{color}PaletteColorLookupTableDescriptor", [len(grays), 0, 16])
        setattr(header, f"{color}PaletteColorLookupTableData", grays.tobytes())
    assert np.abs(read(tmp_path, header) - expected).max() <= 1
    header.BluePaletteColorLookupTableData = grays[::-1].tobytes()
    with pytest.raises(RadiographError, match="color"):
        read(tmp_path, header)


@pytest.mark.parametrize("missing", ["HighBit", "PixelRepresentation", "SamplesPerPixel", "BitsStored HighBit"])
def test_what_the_standard_demands_and_systems_leave_out(tmp_path: Path, missing: str) -> None:
    header, _ = plain(16)
    expected = read(tmp_path, header)
    for name in missing.split():
        delattr(header, name)
    assert np.array_equal(read(tmp_path, header), expected)


@pytest.mark.parametrize(("implicit", "little"), [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize("preamble", [True, False])
def test_a_file_without_meta_information(tmp_path: Path, implicit: bool, little: bool, preamble: bool) -> None:
    header, pixels = plain()
    expected = read(tmp_path, header)
    header.PixelData = pixels.astype("<u2" if little else ">u2").tobytes()
    with pydicom.filebase.DicomBytesIO() as file:
        file.is_implicit_VR, file.is_little_endian = implicit, little
        pydicom.filewriter.write_dataset(file, pydicom.dataset.Dataset(header))
        (tmp_path / "bare").write_bytes((bytes(128) + b"DICM") * preamble + file.getvalue())
    assert np.array_equal(read_radiograph(tmp_path / "bare", OPEN).gray, expected)


def test_no_dependency_is_under_the_gpl() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    if not project.is_file():
        pytest.skip("an installed package has no pyproject.toml")
    # pydicom would use it for JPEG; it is GPL-3. imagecodecs does the same work.
    assert "pylibjpeg" not in project.read_text() + (project.parent / "constraints.txt").read_text()
