"""TIFF and BigTIFF of any layout: what the directory says is checked before libtiff decodes the page."""

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from kneeal.radiograph.image import RadiographError, check_size

_NUMBERS = {3: "H", 4: "I", 16: "Q"}
_SUBFILE, _COLUMNS, _ROWS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _PLANAR = 254, 256, 257, 262, 274, 277, 284
_WHITE_IS_0, _PALETTE, _MOST_PAGES = 0, 3, 16


def read_tiff(data: bytes, max_pixels: int) -> tuple[NDArray[Any], int, bool]:
    """The values of the only page that is no smaller copy, [H, W] or [H, W, channels]; orientation; whether 0 is white.

    Several pages are refused, and one that is too large.
    """
    pages = list(islice(_directories(data), _MOST_PAGES))
    whole = [i for i, tags in enumerate(pages) if not tags.get(_SUBFILE, 0) & 1] or [0]
    if len(whole) > 1:
        raise RadiographError("frames", "more than one page", "one radiograph per file", "split or remove the file")
    tags = pages[whole[0]]
    samples, photometric = tags.get(_SAMPLES, 1), tags.get(_PHOTOMETRIC)
    check_size(tags[_ROWS], tags[_COLUMNS] * max(1, samples // 4), max_pixels)
    pixels = imagecodecs.tiff_decode(data, index=whole[0], asrgb=photometric == _PALETTE)
    if samples > 1 and tags.get(_PLANAR) == 2:
        pixels = np.moveaxis(pixels, 0, -1)
    return pixels, tags.get(_ORIENTATION, 1), photometric == _WHITE_IS_0


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
