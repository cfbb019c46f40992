"""A radiograph saved as a picture: PNG, JPEG, TIFF or BMP, 8 or 16 bit."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kneeal.radiograph.errors import RadiographError, too_large, unreadable
from kneeal.radiograph.levels import count_levels, look_up, lookup_table

#: Larger pictures are rejected before they are decoded.
MAX_PIXELS = 60_000_000
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
_WIDE = ("I;16", "I;16L", "I;16B", "I;16N")


def read_picture(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """uint8 [H, W], bone bright as it was saved, scaled between the 5th and 99th percentile.

    Raises:
        RadiographError: It cannot be read, is too large, in color, or flat.
    """
    codes = read_codes(path, max_pixels=max_pixels)
    n_levels = 256 if codes.dtype == np.uint8 else 65536
    table = lookup_table(np.arange(n_levels, dtype=np.float64), count_levels(codes, n_levels))
    if table is None:
        raise RadiographError("flat", "all pixels have one gray", "a radiograph", "remove the file")
    return look_up(table, codes)


def read_codes(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The pixels as they were saved, uint8 or uint16 [H, W]; equal channels are gray, and opacity is ignored.

    Raises:
        RadiographError: It cannot be read, is too large, or in color.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as picture:
                return _codes(path, picture, max_pixels)
    except RadiographError:
        raise
    except Image.DecompressionBombError:
        # Pillow's own limit, which lies above ours; it names the size in its message alone.
        raise RadiographError(
            "too_large", "the picture is larger than any radiograph", f"at most {max_pixels / 1e6:g} million px",
            "remove the file",
        ) from None  # fmt: skip
    except MemoryError:
        raise RadiographError("too_large", "not enough memory for its pixels", "a smaller file", "remove it") from None
    except Exception as error:  # Pillow raises anything on damaged files
        raise unreadable(f"the picture is damaged or of another format ({type(error).__name__})") from None


def _codes(path: Path, picture: Image.Image, max_pixels: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    columns, rows = picture.size
    if rows * columns > max_pixels:
        raise too_large(columns, rows, max_pixels)
    if getattr(picture, "n_frames", 1) != 1:
        raise RadiographError("frames", "more than one page", "one radiograph a file", "split or remove the file")
    deep = _is_deep(picture)
    picture.load()
    mode = picture.mode
    if mode in ("L", "1"):
        return np.asarray(picture if mode == "L" else picture.convert("L"), np.uint8)
    if mode in _WIDE:
        return np.asarray(picture, np.uint16)
    pixels: Any
    if mode in ("I", "F"):
        pixels = np.asarray(picture)
        if mode == "I" and pixels.min() >= 0 and pixels.max() <= 65535:
            return np.asarray(pixels, np.uint16)
        raise RadiographError("mismatch", "pixels of 32 bit", "8 or 16 bit", "convert the file")
    if mode == "P":
        gray = _by_palette(picture)
        if gray is not None:
            return gray
    if mode in ("LA", "RGB", "RGBA"):
        # Pillow found the file whole, but keeps only the upper 8 bits of deep channels; OpenCV keeps all.
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED) if deep else np.asarray(picture)
        first = np.ascontiguousarray(pixels[..., 0])
        colors = 1 if pixels.shape[2] == 2 else 3
        if all(np.array_equal(first, pixels[..., channel]) for channel in range(1, colors)):
            return first
    raise RadiographError("colour", "the picture is in color", "a gray picture", "convert it, or remove the file")


def _by_palette(picture: Image.Image) -> NDArray[np.uint8] | None:
    """The gray of each pixel; None where a color occurs. Never a copy in color, which is many times as large."""
    colors = np.zeros((256, 3), np.uint8)
    known = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]
    colors[: len(known)] = known
    codes = np.asarray(picture, np.uint8)
    used = colors[count_levels(codes, 256) > 0]
    return look_up(colors[:, 0], codes) if (used == used[:, :1]).all() else None


def _is_deep(picture: Image.Image) -> bool:
    """Whether a PNG holds several channels of 16 bit; known only before the pixels are decoded."""
    tile: Any = getattr(picture, "tile", [])
    return picture.format == "PNG" and any(str(part[3]).endswith(";16B") for part in tile)
