"""One radiograph in every form in which pictures are saved."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from kneeal.data.patches import scale_intensities
from kneeal.radiograph import RadiographError, ReadOptions, read_radiograph

ROWS, COLUMNS = 60, 90
_y, _x = np.mgrid[:ROWS, :COLUMNS]
GRAY = 0.5 + 0.3 * np.sin(_x / 17) * np.cos(_y / 13) + 0.2 * (_x / COLUMNS) - 0.1 * (_y / ROWS)
GRAY = (GRAY - GRAY.min()) / np.ptp(GRAY)
G8, G12, G16 = (np.rint(GRAY * top).astype(kind) for top, kind in ((255, "u1"), (4095, "<u2"), (65535, "<u2")))
SCALED = scale_intensities(GRAY).astype(int)
OPTIONS = ReadOptions(mm_per_px=0.5)
OPAQUE = np.full_like(G16, 65535)


def tiff(
    pixels: Any, *, order: str = "<", big: bool = False, tile: int = 0, planar: bool = False, deflate: bool = False,
    **more: tuple[str, list[int]],
) -> bytes:  # fmt: skip
    """A TIFF of [H, W] or [H, W, channels]; more tags as ``t274=("H", [6])``."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    rows, columns, samples = pixels.shape
    stored = np.ascontiguousarray(pixels).astype(pixels.dtype.newbyteorder(order))
    planes = [stored[..., k : k + 1] for k in range(samples)] if planar else [stored]
    if tile:
        down, across = -rows % tile, -columns % tile
        planes = [np.pad(plane, ((0, down), (0, across), (0, 0))) for plane in planes]
        planes = [
            plane[y : y + tile, x : x + tile]
            for plane in planes
            for y in range(0, rows, tile)
            for x in range(0, columns, tile)
        ]
    parts = [zlib.compress(plane.tobytes()) if deflate else plane.tobytes() for plane in planes]
    header = struct.pack(order + ("2sHHHQ" if big else "2sHI"), *((b"II" if order == "<" else b"MM", 43, 8, 0, 16)
        if big else (b"II" if order == "<" else b"MM", 42, 8)))  # fmt: skip
    word, count, entry = ("Q", "Q", "HHQ") if big else ("I", "H", "HHI")
    formats = {"u": 1, "i": 2, "f": 3}
    tags: dict[int, tuple[str, list[int]]] = {
        256: ("I", [columns]), 257: ("I", [rows]), 258: ("H", [8 * stored.dtype.itemsize] * samples),
        259: ("H", [8 if deflate else 1]), 262: ("H", [2 if samples > 2 else 1]), 277: ("H", [samples]),
        284: ("H", [2 if planar else 1]), 339: ("H", [formats[stored.dtype.kind]] * samples),
        **({322: ("H", [tile]), 323: ("H", [tile])} if tile else {278: ("I", [rows])}),
        324 if tile else 273: (word, [0] * len(parts)), 325 if tile else 279: (word, [len(part) for part in parts]),
        **{int(name[1:]): value for name, value in more.items()},
    }  # fmt: skip
    if samples in (2, 4):
        tags[338] = ("H", [2])
    kinds = {"B": 1, "H": 3, "I": 4, "Q": 16}
    start = len(header) + struct.calcsize(order + count) + len(tags) * struct.calcsize(order + entry + word)
    place = start + struct.calcsize(order + word)
    sizes = {name: struct.calcsize(f"{order}{len(values)}{kind}") for name, (kind, values) in tags.items()}
    inline = struct.calcsize(order + word)
    data = place + sum(size for size in sizes.values() if size > inline)
    name = 324 if tile else 273
    tags[name] = (word, [data + sum(map(len, parts[:k])) for k in range(len(parts))])
    directory, beyond = struct.pack(order + count, len(tags)), b""
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(packed) > inline:
            value, beyond = struct.pack(order + word, place + len(beyond)), beyond + packed
        else:
            value = packed.ljust(inline, b"\0")
        directory += struct.pack(order + entry, tag, kinds[kind], len(values)) + value
    return header + directory + bytes(inline) + beyond + b"".join(parts)


def save(picture: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def found(path: Path, data: bytes) -> Any:
    path.write_bytes(data)
    return read_radiograph(path, OPTIONS).gray.astype(int)


L, RGB = Image.fromarray(G8), Image.fromarray(G8).convert("RGB")
LA = Image.merge("LA", (L, Image.new("L", L.size, 255)))
PALETTE = [v * 257 for v in range(255, -1, -1)] * 3
FORMS: dict[str, bytes] = {
    "png": save(L, "PNG"), "png 16": save(Image.fromarray(G16), "PNG"), "png rgb": save(RGB, "PNG"),
    "png la 16": imagecodecs.png_encode(np.dstack([G16, OPAQUE])),
    "png rgba 16": imagecodecs.png_encode(np.dstack([G16, G16, G16, OPAQUE])),
    "png palette": save(L.convert("P"), "PNG"), "png trailing": save(L, "PNG") + b"\0some more" * 40,
    "bmp": save(L, "BMP"), "webp": save(RGB, "WEBP", lossless=True), "gif": save(L, "GIF"),
    "gif interlaced": save(L, "GIF", interlace=1), "pgm": save(L, "PPM"),
    "pgm 16": f"P5 {COLUMNS} {ROWS} 65535\n".encode() + G16.astype(">u2").tobytes(),
    "jp2": save(L, "JPEG2000"), "jp2 la": save(LA, "JPEG2000"),
    "jp2 rgb 16": imagecodecs.jpeg2k_encode(np.dstack([G16] * 3), reversible=True, codecformat="jp2"),
    "j2k 12": imagecodecs.jpeg2k_encode(G12, reversible=True, codecformat="j2k", bitspersample=12),
    "j2k signed": imagecodecs.jpeg2k_encode(
        (G12.astype(np.int16) - 2048), reversible=True, codecformat="j2k", bitspersample=12
    ),
    "jph": imagecodecs.htj2k_encode(G16, reversible=True),
    "jpeg-ls": imagecodecs.jpegls_encode(G16), "jpeg-ls 8": imagecodecs.jpegls_encode(G8),
    "jpeg lossless": imagecodecs.jpeg8_encode(G16, lossless=True, predictor=1, bitspersample=16),
    "tiff": tiff(G8), "tiff 16 big endian": tiff(G16, order=">"), "bigtiff": tiff(G16, big=True),
    "bigtiff big endian": tiff(G16, big=True, order=">"), "tiff tiles": tiff(G16, tile=32, deflate=True),
    "tiff float16": tiff(GRAY.astype(np.float16)), "tiff float32": tiff(GRAY.astype(np.float32)),
    "tiff float64": tiff(GRAY, deflate=True), "tiff float64 big endian": tiff(GRAY, order=">"),
    "tiff int8": tiff((G8.astype(int) - 128).astype(np.int8)), "tiff int16": tiff(G12.astype(np.int16) - 2048),
    "tiff int32": tiff(G16.astype(np.int32) * 9 - 2048), "tiff uint32": tiff(G16.astype(np.uint32) * 65535),
    "tiff uint64": tiff(G16.astype(np.uint64)),
    "tiff rgb 16": tiff(np.dstack([G16] * 3)), "tiff rgb 16 planes": tiff(np.dstack([G16] * 3), planar=True),
    "tiff rgb float": tiff(np.dstack([GRAY] * 3)), "tiff rgba": tiff(np.dstack([G8] * 3 + [OPAQUE.astype("u1")])),
    "tiff la 16": tiff(np.dstack([G16, OPAQUE])), "tiff la planes": tiff(np.dstack([G16, OPAQUE]), planar=True),
    "tiff white": tiff(255 - G8, t262=("H", [0])), "tiff white 16": tiff(65535 - G16, t262=("H", [0])),
    "tiff white float": tiff(-GRAY, t262=("H", [0])), "tiff white int16": tiff(-G12.astype(np.int16), t262=("H", [0])),
    "tiff palette": tiff(255 - G8, t262=("H", [3]), t320=("H", PALETTE)),
    "tiff turned": tiff(np.rot90(G16), t274=("H", [6])),
    "tiff preview": save(L, "TIFF", save_all=True, append_images=[L.resize((9, 6))], tiffinfo={254: 0}).replace(
        struct.pack("<HHII", 254, 4, 1, 0), struct.pack("<HHII", 254, 4, 1, 1)
    ).replace(struct.pack("<HHII", 254, 4, 1, 1), struct.pack("<HHII", 254, 4, 1, 0), 1),
    "tiff trailing": tiff(G16) + b"some more" * 40,
    **{f"tiff {name}": save(L, "TIFF", compression=name) for name in ("tiff_lzw", "packbits", "tiff_adobe_deflate")},
    "tiff 16 lzw": save(Image.fromarray(G16), "TIFF", compression="tiff_lzw"),
    "tiff cmyk": save(RGB.convert("CMYK"), "TIFF"), "tiff la": save(LA, "TIFF"),
}  # fmt: skip
LOSSY: dict[str, bytes] = {
    "jpeg": save(L, "JPEG", quality=97), "jpeg rgb": save(RGB, "JPEG", quality=97, subsampling=2),
    "jpeg progressive": save(L, "JPEG", quality=97, progressive=True),
    "jpeg cmyk": save(RGB.convert("CMYK"), "JPEG", quality=97),
    "jpeg 12": imagecodecs.jpeg8_encode(G12, level=98, bitspersample=12),
    "mpo": save(RGB, "MPO", quality=97), "webp": save(RGB, "WEBP", quality=97),
    "mpo of two": save(RGB, "MPO", quality=97, save_all=True, append_images=[RGB.resize((9, 6))]),
    "gif adaptive": save(RGB.quantize(200), "GIF"), "tiff jpeg": save(L, "TIFF", compression="jpeg", quality=97),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_picture_is_read_as_it_was_saved(tmp_path: Path, form: str) -> None:
    """Under a name that says nothing, or another format."""
    assert np.abs(found(tmp_path / "x.png", FORMS[form]) - SCALED).max() <= 1


@pytest.mark.parametrize("form", LOSSY)
def test_a_picture_is_read_but_for_what_its_format_loses(tmp_path: Path, form: str) -> None:
    assert np.abs(found(tmp_path / "x", LOSSY[form]) - SCALED).max() <= 8


@pytest.mark.parametrize("orientation", range(2, 9))
def test_orientations(tmp_path: Path, orientation: int) -> None:
    stored = {2: np.fliplr, 3: lambda g: np.rot90(g, 2), 4: np.flipud, 5: np.transpose, 6: np.rot90,
              7: lambda g: np.rot90(g, 2).T, 8: lambda g: np.rot90(g, -1)}[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    for gray, form in ((G8, "JPEG"), (G8, "PNG"), (G16, "PNG"), (G16, "TIFF")):
        picture = Image.fromarray(np.ascontiguousarray(stored(gray)))
        data = save(picture, form, exif=exif, **({"quality": 97} if form == "JPEG" else {}))
        assert np.abs(found(tmp_path / "x", data) - SCALED).max() <= (6 if form == "JPEG" else 1)


@pytest.mark.parametrize(
    "data",
    [
        save(L, "TIFF", save_all=True, append_images=[L]),
        save(L, "GIF", save_all=True, append_images=[L.rotate(90)]),
        save(RGB, "WEBP", save_all=True, append_images=[RGB.rotate(90)]),
    ],
    ids=["tiff", "gif", "webp"],
)
def test_several_pictures_in_one_file_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(RadiographError, match="split") as caught:
        found(tmp_path / "x", data)
    assert caught.value.reason == "frames"


@pytest.mark.parametrize("kind", ["jp2", "jpeg-ls", "tiff", "bigtiff", "gif", "png"])
def test_the_size_is_checked_before_anything_is_decoded(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x").write_bytes(FORMS[kind])
    with pytest.raises(RadiographError, match="million px") as caught:
        read_radiograph(tmp_path / "x", ReadOptions(mm_per_px=0.5, max_pixels=ROWS * COLUMNS - 1))
    assert caught.value.reason == "too_large"
    (tmp_path / "x").write_bytes(FORMS[kind][: len(FORMS[kind]) // 2])
    with pytest.raises(RadiographError) as caught:
        read_radiograph(tmp_path / "x", OPTIONS)
    assert caught.value.reason in ("unreadable", "truncated")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_that_is_cut_off_is_truncated(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (300, 300), np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole", kind)
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "half").write_bytes(data[: len(data) // 2])
    with pytest.raises(RadiographError) as caught:
        read_radiograph(tmp_path / "half", OPTIONS)
    assert caught.value.reason == "truncated"
