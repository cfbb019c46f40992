"""A radiograph saved as a picture: PNG, JPEG, TIFF or BMP, 8 or 16 bit."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kneeal.radiograph.errors import RadiographError, too_large, unreadable
from kneeal.radiograph.levels import count_levels, look_up, lookup_table

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
_WIDE = ("I;16", "I;16L", "I;16B", "I;16N")


def read_picture(path: Path, *, most_pixels: int) -> NDArray[np.uint8]:
    """uint8 [H, W], bone bright as it was saved, scaled between the 5th and 99th percentile.

    Raises:
        RadiographError: It cannot be read, is too large, in colour, or flat.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as picture:
                codes = _codes(picture, most_pixels)
    except RadiographError:
        raise
    except Image.DecompressionBombError:
        # Pillow's own limit, which lies above ours; it names the size in its message alone.
        raise RadiographError(
            "too_large", "the picture is larger than any radiograph", f"at most {most_pixels / 1e6:g} million px",
            "remove the file",
        ) from None  # fmt: skip
    except MemoryError:
        raise RadiographError("too_large", "not enough memory for its pixels", "a smaller file", "remove it") from None
    except Exception as error:  # Pillow raises anything on damaged files
        raise unreadable(f"the picture is damaged or of another format ({type(error).__name__})") from None
    n_levels = 256 if codes.dtype == np.uint8 else 65536
    table = lookup_table(np.arange(n_levels, dtype=np.float64), count_levels(codes, n_levels))
    if table is None:
        raise RadiographError("flat", "all pixels have one grey", "a radiograph", "remove the file")
    return look_up(table, codes)


def _codes(picture: Image.Image, most_pixels: int) -> NDArray[np.unsignedinteger]:
    columns, rows = picture.size
    if rows * columns > most_pixels:
        raise too_large(columns, rows, most_pixels)
    if getattr(picture, "n_frames", 1) != 1:
        raise RadiographError("frames", "more than one page", "one radiograph a file", "split or remove the file")
    mode = picture.mode
    if mode == "L" or mode in _WIDE:
        pixels = np.asarray(picture)
        return np.asarray(pixels, np.uint8 if mode == "L" else np.uint16)
    if mode == "I":
        pixels = np.asarray(picture)
        if pixels.min() >= 0 and pixels.max() <= 65535:
            return pixels.astype(np.uint16)
        raise RadiographError("mismatch", "pixels of 32 bit", "8 or 16 bit", "convert the file")
    if mode == "LA":
        return np.ascontiguousarray(np.asarray(picture)[..., 0])
    if mode in ("RGB", "RGBA"):
        pixels = np.asarray(picture)
        first = np.ascontiguousarray(pixels[..., 0])
        if all(np.array_equal(first, pixels[..., channel]) for channel in (1, 2)):
            return first
    raise RadiographError(
        "colour", "the picture is in colour or has a palette", "a grey picture", "convert it, or remove the file"
    )
