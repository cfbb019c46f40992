"""Metal on a radiograph: bright and even with a steep border, which bone is not. Markers of lead, and implants."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kneeal.localizer.windows import cut_window

#: Height, width and pixel size in mm of the window in which an implant is looked for.
_HEIGHT_MM, _WIDTH_MM, _STEP_MM = 90.0, 76.0, 0.5
#: The brightest percent of a radiograph is white, so metal is above one of these; smallest area in mm², and how much
#: darker its surroundings are. Measured: docs/prepare.md.
_WHITE, _IMPLANT_MM2, _IMPLANT_DROP = (250, 240), 150.0, 50.0
#: A letter of lead: smallest area in mm², contrast in levels, share of it by which the border drops, mm off the center.
_LETTER_MM2, _LETTER_CONTRAST, _LETTER_DROP, _LETTER_OFF_MM = 15.0, 40.0, 0.7, 8.0


class _Part(NamedTuple):
    """A connected bright part of a window."""

    drop: float  #: How much darker the surroundings are, in levels.
    off_px: float  #: From the middle of the window to the part's, in px.
    whole: bool  #: Whether it lies within the window.


def shows_implant(
    radiograph: NDArray[np.uint8], mm_per_px: tuple[float, float], center_mm: tuple[float, float], angle_deg: float
) -> bool:
    """Whether there is metal in a knee.

    Args:
        radiograph: uint8 [H, W], bone bright, scaled between its percentiles.
        mm_per_px: Height and width of its pixels.
        center_mm: Center of the tibial plateau.
        angle_deg: Angle of the plateau.
    """
    size = round(_HEIGHT_MM / _STEP_MM)
    margin = round((_HEIGHT_MM - _WIDTH_MM) / 2 / _STEP_MM)
    window = cut_window(radiograph, mm_per_px, center_mm, angle_deg, size, _STEP_MM)[:, margin:-margin]
    return any(
        part.drop >= _IMPLANT_DROP
        for white in _WHITE
        for part in _bright_parts(window, white, _IMPLANT_MM2 / _STEP_MM**2, border_px=2)
    )


def shows_letter(window: NDArray[np.uint8], mm_per_px: float) -> bool:
    """Whether what is in the middle of a window could be a letter of lead: an edge of bone or skin is none."""
    edge = len(window) // 5
    ground, top = np.median(window), np.percentile(window[edge:-edge, edge:-edge], 99)
    contrast = float(top - ground)
    return contrast >= _LETTER_CONTRAST and any(
        part.whole and part.drop >= _LETTER_DROP * contrast and part.off_px * mm_per_px <= _LETTER_OFF_MM
        for part in _bright_parts(window, float(ground + top) / 2, _LETTER_MM2 / mm_per_px**2, border_px=1)
    )


def _bright_parts(window: NDArray[np.uint8], level: float, min_px: float, *, border_px: int) -> Iterator[_Part]:
    """The connected parts above a level and an area; their surroundings begin so many px outside and are as wide."""
    square = np.ones((2 * border_px + 1,) * 2, np.uint8)
    n, labels, boxes, centers = cv2.connectedComponentsWithStats((window >= level).astype(np.uint8))
    height, width = window.shape
    for k in range(1, n):
        x, y, across, down, area = map(int, boxes[k])
        if area < min_px:
            continue
        part = (labels == k).astype(np.uint8)
        near = cv2.dilate(part, square)
        around = cv2.dilate(near, square) > near
        if around.any():
            drop = float(np.median(window[part > 0]) - np.median(window[around]))
            off = float(np.hypot(*(centers[k] - ((width - 1) / 2, (height - 1) / 2))))
            yield _Part(drop, off, x > 0 and y > 0 and x + across < width and y + down < height)
