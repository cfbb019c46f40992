"""A radiograph saved as a picture: PNG, JPEG, TIFF, BMP or WebP, of 8 or 16 bit or of real numbers."""

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from kneeal.radiograph.gray import count_levels, look_up, lookup_table
from kneeal.radiograph.image import MAX_PIXELS, RadiographError, damage_told, too_large

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
#: Channels that differ by up to so many of 255 levels are gray (JPEG rounds), and so is a picture in which no more than
#: this share of the pixels has a color (a frame, a mark).
_GRAY_LEVELS, _COLORED_SHARE = 24, 0.06
#: Channels whose means over the other pixels differ by more levels show a tint, which colors the bright parts most.
_TINT_LEVELS = 2
_WIDE = ("I;16", "I;16L", "I;16B", "I;16N")
_PHOTOMETRIC, _ORIENTATION = 0x0106, 0x0112


def read_picture(path: Path, *, max_pixels: int = MAX_PIXELS, bits: int = 8) -> NDArray[Any]:
    """uint8 or uint16 [H, W], bone bright as it was saved, scaled between the 5th and 99th percentile.

    Raises:
        RadiographError: It cannot be read, is too large, in color, or flat.
    """
    codes = read_codes(path, max_pixels=max_pixels)
    n_levels = 256 if codes.dtype == np.uint8 else 65536
    table = lookup_table(np.arange(n_levels, dtype=np.float64), count_levels(codes, n_levels), bits)
    return look_up(table, codes)


def read_codes(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The pixels as they were saved, turned as EXIF says, uint8 or uint16 [H, W]; opacity is ignored.

    Channels that are equal but for rounding are gray; numbers of other types are scaled to 16 bit from the lowest to
    the highest.

    Raises:
        RadiographError: It cannot be read, is too large, or in color.
    """
    with damage_told("the picture is damaged or of another format"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # Opened by its name, a TIFF is mapped into memory, which Pillow 13.0 gets wrong for one that is turned.
            with path.open("rb") as file, Image.open(file, formats=_FORMATS) as picture:
                return _codes(path, picture, max_pixels)
        except Image.DecompressionBombError:
            # Pillow's own limit, which lies above ours; it names the size in its message alone.
            raise too_large("the picture is larger than any radiograph", max_pixels) from None


def _codes(path: Path, picture: Image.Image, max_pixels: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    columns, rows = picture.size
    if rows * columns > max_pixels:
        raise too_large(f"the header says {columns} x {rows} px", max_pixels)
    if getattr(picture, "n_frames", 1) != 1:
        raise RadiographError("frames", "more than one page", "one radiograph per file", "split or remove the file")
    # What is known only before the pixels are decoded: whether a PNG holds several channels of 16 bit, and whether 0 is
    # white in a TIFF, which Pillow heeds up to 8 bits.
    tile: Any = getattr(picture, "tile", [])
    deep = picture.format == "PNG" and any(str(part[3]).endswith(";16B") for part in tile)
    white = getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == 0
    picture.load()
    orientation = picture.getexif().get(_ORIENTATION, 1)
    if orientation != 1:
        picture, deep = ImageOps.exif_transpose(picture), False
    mode = picture.mode
    if mode in ("L", "1"):
        return np.asarray(picture if mode == "L" else picture.convert("L"), np.uint8)
    if mode in (*_WIDE, "I", "F"):
        codes = np.asarray(picture, np.uint16) if mode in _WIDE else _to_16_bit(np.asarray(picture))
        return 65535 - codes if white else codes
    pixels: Any
    if mode == "P":
        gray = _by_palette(picture)
        if gray is not None:
            return gray
    if mode in ("CMYK", "YCbCr"):
        picture, mode = picture.convert("RGB"), "RGB"
    if mode in ("LA", "RGB", "RGBA"):
        # Pillow found the file whole, but keeps only the upper 8 bits of deep channels; OpenCV keeps all.
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED) if deep else np.asarray(picture)
        gray = np.ascontiguousarray(pixels[..., 0]) if pixels.shape[2] == 2 else _gray(pixels[..., :3])
        if gray is not None:
            return gray
    raise RadiographError("color", "the picture is in color", "a gray picture", "convert it, or remove the file")


def _to_16_bit(numbers: NDArray[Any]) -> NDArray[np.uint16]:
    """Whole numbers of 16 bit as they are; others from the lowest to the highest."""
    if not np.isfinite(numbers).all():
        raise RadiographError("mismatch", "pixels that are not finite", "finite gray values", "convert the file")
    low, high = float(numbers.min()), float(numbers.max())
    if numbers.dtype.kind == "i" and low >= 0 and high <= 65535:
        return np.asarray(numbers, np.uint16)
    scale = 65535 / (high - low) if high > low else 0.0
    return np.asarray(np.rint((numbers.astype(np.float64) - low) * scale), np.uint16)


def _gray(pixels: NDArray[Any]) -> NDArray[Any] | None:
    """One channel of three that agree, their mean where they agree nearly everywhere; None for a picture in color."""
    first = np.ascontiguousarray(pixels[..., 0])
    if all(np.array_equal(first, pixels[..., channel]) for channel in (1, 2)):
        return first
    tolerance = _GRAY_LEVELS * (np.iinfo(pixels.dtype).max // 255)
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    colored = spread > tolerance
    if colored.mean() > _COLORED_SHARE:
        return None
    mean: NDArray[Any] = np.rint(pixels.mean(axis=2, dtype=np.float32)).astype(pixels.dtype)
    shades = [float(pixels[..., channel].mean(where=~colored)) for channel in range(3)]
    if max(shades) - min(shades) <= _TINT_LEVELS * tolerance / _GRAY_LEVELS:
        # A frame or a mark is no gray of the radiograph: the median moves no percentile.
        mean[colored] = np.median(mean[~colored])
    return mean


def _by_palette(picture: Image.Image) -> NDArray[np.uint8] | None:
    """The gray of each pixel; None where a color occurs. Never a copy in color, which is many times as large."""
    colors = np.zeros((256, 3), np.uint8)
    known = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]
    colors[: len(known)] = known
    codes = np.asarray(picture, np.uint8)
    used = colors[count_levels(codes, 256) > 0]
    return look_up(colors[:, 0], codes) if (used == used[:, :1]).all() else None
