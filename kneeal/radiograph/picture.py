"""A radiograph saved as a picture, of 8 or 16 bit or of real numbers."""

import struct
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base as Tag

from kneeal.radiograph.codestream import codestream_size, decode_stream
from kneeal.radiograph.gray import gray_channels
from kneeal.radiograph.image import MAX_PIXELS, RadiographError, ReadOptions, check_size, decoder_errors

#: First bytes of what is no picture for Pillow, of TIFF and of JPEG 2000, and of all pictures.
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_STREAM_SIGNATURES = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")
PICTURE_SIGNATURES = (*_TIFF, *_STREAM_SIGNATURES, b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF", b"GIF8", b"P2", b"P5", b"P6")
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "PPM")
_FOR_PILLOW = (0xC0, 0xC1, 0xC2)
_NUMBERS = {3: "H", 4: "I", 16: "Q"}
#: Values of PhotometricInterpretation (TIFF 6.0).
_WHITE_IS_0, _PALETTE_COLOR = 0, 3
_MAX_PAGES = 16


def read_codes(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The pixels as they were saved, turned as EXIF says, uint8 or uint16 [H, W]; opacity is ignored.

    Channels that are equal but for rounding are gray; numbers of other types are scaled to 16 bit from the lowest to
    the highest. What cannot be read, is too large or in color is refused.
    """
    with decoder_errors("the picture is damaged or of another format"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Opened by its name, a picture may be mapped into memory, which Pillow 13.0 gets wrong for one that is turned.
        try:
            with path.open("rb") as file:
                pixels, orientation, white = _decode(file, max_pixels)
        except Image.DecompressionBombError:
            # Pillow's own limit lies above ours; it names the size in its message alone.
            raise RadiographError("too_large", "a picture larger than any radiograph", "a smaller one") from None
        if pixels.dtype not in (np.uint8, np.uint16):
            pixels = _to_16_bit(pixels)
        if pixels.ndim == 3:
            # One channel with opacity, or three.
            pixels = np.ascontiguousarray(pixels[..., 0]) if pixels.shape[2] == 2 else gray_channels(pixels[..., :3])
        if white:
            pixels = np.iinfo(pixels.dtype).max - pixels
        if orientation > 4:
            pixels = pixels.T
        down, across = (-1 if orientation in turned else 1 for turned in ((3, 4, 7, 8), (2, 3, 6, 7)))
        return np.ascontiguousarray(pixels[::down, ::across])


def _decode(file: BinaryIO, max_pixels: int) -> tuple[NDArray[Any], int, bool]:
    """The values of any type, [H, W] or [H, W, channels]; the orientation by EXIF; whether 0 is white."""
    start = file.read(8)
    file.seek(0)
    if start.startswith(_TIFF):
        return _read_tiff(file.read(ReadOptions.max_bytes), max_pixels)
    if start.startswith(_STREAM_SIGNATURES):
        data = file.read(ReadOptions.max_bytes)
        size = codestream_size(data)
        # Pillow knows what JPEG of 8 bit is used for in pictures: CMYK, orientation, several pictures in one.
        if size is not None and (size.bits > 8 or size.marker not in _FOR_PILLOW):
            check_size(size.rows, size.columns, max_pixels)
            return decode_stream(data, size.rows, size.columns), 1, False
    with Image.open(file, formats=_FORMATS) as picture:
        columns, rows = picture.size
        check_size(rows, columns, max_pixels)
        # The further pictures of MPO are smaller ones, or other views for those who have two eyes.
        if picture.format != "MPO" and getattr(picture, "n_frames", 1) != 1:
            raise RadiographError("frames", "several pictures", "one radiograph per file", "split or remove the file")
        orientation = picture.getexif().get(Tag.Orientation, 1)
        if picture.format != "PNG":
            gray_or_rgb = picture.convert("RGB") if picture.mode in ("P", "CMYK") else picture
            return np.asarray(gray_or_rgb), orientation, False
    # Pillow keeps only the upper 8 bits of several channels.
    file.seek(0)
    return imagecodecs.png_decode(file.read(ReadOptions.max_bytes)), orientation, False


def _read_tiff(data: bytes, max_pixels: int) -> tuple[NDArray[Any], int, bool]:
    """The values of the only page that is no smaller copy, [H, W] or [H, W, channels]; orientation; whether 0 is white.

    Several pages are refused, and one that is too large.
    """
    pages = list(islice(_directories(data), _MAX_PAGES))
    whole = [i for i, tags in enumerate(pages) if not tags.get(Tag.NewSubfileType, 0) & 1] or [0]
    if len(whole) > 1:
        raise RadiographError("frames", "more than one page", "one radiograph per file", "split or remove the file")
    tags = pages[whole[0]]
    samples, photometric = tags.get(Tag.SamplesPerPixel, 1), tags.get(Tag.PhotometricInterpretation)
    check_size(tags[Tag.ImageLength], tags[Tag.ImageWidth] * max(1, samples // 4), max_pixels)
    pixels = imagecodecs.tiff_decode(data, index=whole[0], asrgb=photometric == _PALETTE_COLOR)
    if samples > 1 and tags.get(Tag.PlanarConfiguration) == 2:
        pixels = np.moveaxis(pixels, 0, -1)
    return pixels, tags.get(Tag.Orientation, 1), photometric == _WHITE_IS_0


def _directories(data: bytes) -> Iterator[dict[int, int]]:
    """The first whole number of each tag of each page; of a tag that occurs twice, the first, as libtiff has it."""
    order = "<" if data[:2] == b"II" else ">"
    count, offset, word = ("Q", "Q", 8) if data[2:4] in (b"+\0", b"\0+") else ("H", "I", 4)

    def number(form: str, position: int) -> int:
        return int(struct.unpack_from(order + form, data, position)[0])

    position = number(offset, word)
    while position:
        tags: dict[int, int] = {}
        start = position + struct.calcsize(count)
        end = start + number(count, position) * (4 + 2 * word)
        for place in range(start, end, 4 + 2 * word):
            kind = _NUMBERS.get(number("H", place + 2))
            if kind:
                tags.setdefault(number("H", place), number(kind, place + 4 + word))
        yield tags
        position = number(offset, end)


def _to_16_bit(numbers: NDArray[Any]) -> NDArray[np.uint16]:
    """Whole numbers of 16 bit as they are; others from the lowest to the highest."""
    if not np.isfinite(numbers).all():
        raise RadiographError("mismatch", "pixels that are not finite", "finite gray values", "convert the file")
    low, high = float(numbers.min()), float(numbers.max())
    if numbers.dtype.kind == "i" and low >= 0 and high <= 65535:
        return np.asarray(numbers, np.uint16)
    scale = 65535 / (high - low) if high > low else 0.0
    return np.asarray(np.rint((numbers.astype(np.float64) - low) * scale), np.uint16)
