"""What is drawn over a knee whose plateau is known: metal, sclerosis, which looks a little like it, growth plates."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Gray8 = NDArray[np.uint8]
Points = NDArray[np.float64]

#: How much brighter than the brightest bone metal is, in levels; what is above white is lost.
_BRIGHTER = (40.0, 120.0)


class _Sheet:
    """A mask in the frame of a knee: mm from the center of the plateau, along it and down; half its width is given."""

    def __init__(self, picture: Gray8, mm_per_px: float, plateau: Points) -> None:
        self.mask = np.zeros_like(picture)
        across = plateau[1] - plateau[0]
        self.half = float(np.hypot(*across) / 2)
        along = across / (2 * self.half)
        # Points as rows: the first coordinate goes along the plateau, the second down from it.
        self._turn = np.array([along, (-along[1], along[0])]) / mm_per_px
        self._origin = plateau.mean(axis=0) / mm_per_px + (np.array(picture.shape[::-1]) - 1) / 2
        self._mm_per_px = mm_per_px

    def fill(self, points: Points) -> None:
        """Fill a polygon."""
        cv2.fillPoly(self.mask, [self._fixed(points)], 255, cv2.LINE_AA, 4)

    def line(self, points: Points, width_mm: float) -> None:
        """Draw a line of this width."""
        px = max(1, round(width_mm / self._mm_per_px))
        cv2.polylines(self.mask, [self._fixed(points)], False, 255, px, cv2.LINE_AA, 4)

    def shade(self, blur_mm: float) -> NDArray[np.float32]:
        """What was drawn, blurred, 0 to 1."""
        blurred = cv2.GaussianBlur(self.mask, (0, 0), blur_mm / self._mm_per_px)
        return np.asarray(blurred.astype(np.float32) / 255, np.float32)

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        return np.asarray(np.round((points @ self._turn + self._origin) * 16), np.int32)


def add_metal(
    picture: Gray8, mm_per_px: float, plateau: Points, rng: np.random.Generator, kind: str, blur_mm: float = 0.6
) -> tuple[Gray8, Gray8]:
    """The picture with metal, and the metal alone, 255 where there is nothing else.

    Args:
        picture: uint8 [H, W], bone bright.
        mm_per_px: Size of its pixels.
        plateau: The plateau edges on the left and the right, mm from the picture's center, [2, 2].
        rng: Source of everything random.
        kind: One of `METAL`.
        blur_mm: Standard deviation of the blur of its edges.
    """
    sheet = _Sheet(picture, mm_per_px, plateau)
    METAL[kind](sheet, rng)
    shine = sheet.shade(blur_mm)
    white = np.float32(min(255.0, float(np.percentile(picture, 99)) + rng.uniform(*_BRIGHTER)))
    shown = np.asarray(picture + shine * np.maximum(white - picture, 0), np.float32).clip(0, 255).astype(np.uint8)
    return shown, np.rint(255 * shine).astype(np.uint8)


def add_sclerosis(picture: Gray8, mm_per_px: float, plateau: Points, rng: np.random.Generator) -> Gray8:
    """The picture with denser bone along one half of the plateau, and perhaps along the condyle above it.

    Args:
        picture: uint8 [H, W], bone bright.
        mm_per_px: Size of its pixels.
        plateau: See `add_metal`.
        rng: Source of everything random.
    """
    sheet = _Sheet(picture, mm_per_px, plateau)
    side = float(rng.choice((-1, 1)))
    inner, outer = rng.uniform(0.1, 0.4), rng.uniform(0.75, 1.0)
    for y in (rng.uniform(0.5, 4), -rng.uniform(2, 8))[: int(rng.integers(1, 3))]:
        x = side * sheet.half * np.linspace(inner, outer, 8)
        bow = rng.uniform(-2, 2) * np.sin(np.linspace(0, np.pi, 8))
        sheet.line(np.stack([x, y + bow], axis=1), rng.uniform(1.5, 5))
    shine = sheet.shade(float(rng.uniform(0.4, 2)))
    return np.asarray(picture + shine * np.float32(rng.uniform(20, 90)), np.float32).clip(0, 255).astype(np.uint8)


def add_growth_plates(picture: Gray8, mm_per_px: float, plateau: Points, rng: np.random.Generator) -> Gray8:
    """The picture with the growth plates of the young, or their scars: dark lines with bright borders.

    Args:
        picture: uint8 [H, W], bone bright.
        mm_per_px: Size of its pixels.
        plateau: See `add_metal`.
        rng: Source of everything random.
    """
    changed = picture.astype(np.float32)
    for y in (rng.uniform(12, 20), -rng.uniform(24, 36)):
        reach = np.linspace(-1, 1, 25) * rng.uniform(0.85, 1.0)
        wave = rng.uniform(-4, 4) * (1 - reach**2) + rng.uniform(-1.5, 1.5) * np.cos(3 * np.pi * reach)
        dark, gap = rng.uniform(0, 60), rng.uniform(1.5, 3.5)
        for offset, tone, width in ((-gap, 40.0, 1.2), (gap, 40.0, 1.2), (0.0, -dark, gap)):
            sheet = _Sheet(picture, mm_per_px, plateau)
            sheet.line(np.stack([reach * sheet.half, y + wave + offset], axis=1), width)
            changed += sheet.shade(0.5) * np.float32(tone * rng.uniform(0.3, 1.2))
    return changed.clip(0, 255).astype(np.uint8)


def _box(left: float, top: float, right: float, bottom: float) -> Points:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def _arc(x: float, y: float, rx: float, ry: float, start_deg: float, end_deg: float) -> Points:
    angles = np.deg2rad(np.linspace(start_deg, end_deg, 40))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def _total(sheet: _Sheet, rng: np.random.Generator) -> None:
    half = sheet.half * rng.uniform(0.88, 1.02)
    top, tray, stem, depth = rng.uniform(0, 4), rng.uniform(4, 7), rng.uniform(5, 9), rng.uniform(20, 48)
    sheet.fill(_box(-half, top, half, top + tray))
    sheet.fill(np.array([(-stem, top), (stem, top), (0.5 * stem, top + depth), (-0.5 * stem, top + depth)]))
    gap, thick, height = rng.uniform(3, 10), rng.uniform(9, 16), rng.uniform(26, 46)
    low = top - gap
    for side in (-1, 1):
        sheet.fill(_arc(side * 0.52 * half, low - thick, 0.42 * half, thick, 0, 360))
    # The flange in front of the femur, as wide as the condyles below and narrower above.
    narrow = rng.uniform(0.45, 0.8) * half
    sheet.fill(
        np.array([
            (-0.94 * half, low - thick), (-narrow, low - height), (narrow, low - height), (0.94 * half, low - thick),
            (0.2 * half, low - thick * rng.uniform(0.8, 1.6)), (-0.2 * half, low - thick * rng.uniform(0.8, 1.6)),
        ])
    )  # fmt: skip


def _partial(sheet: _Sheet, rng: np.random.Generator) -> None:
    side, half = float(rng.choice((-1, 1))), sheet.half
    top, tray, gap = rng.uniform(0, 4), rng.uniform(3, 5), rng.uniform(3, 8)
    inner, outer = sorted((side * 0.1 * half, side * 0.98 * half))
    sheet.fill(_box(inner, top, outer, top + tray))
    keel = side * rng.uniform(0.3, 0.6) * half
    sheet.fill(_box(keel - 2, top, keel + 2, top + rng.uniform(8, 14)))
    thick = rng.uniform(7, 14)
    sheet.fill(_arc(side * 0.52 * half, top - gap - thick, 0.3 * half, thick, 0, 360))


def _plate(sheet: _Sheet, rng: np.random.Generator) -> None:
    side, down = rng.choice((-1, 1)), rng.choice((-1, 1))
    start, end = rng.uniform(3, 14), rng.uniform(55, 110)
    edge = side * sheet.half * rng.uniform(0.8, 1.05)
    shaft = side * rng.uniform(14, 20)
    y = np.linspace(start, end, 12)
    x = shaft + (edge - shaft) * np.clip(1 - (y - start) / 35, 0, 1) ** 1.5
    sheet.line(np.stack([x, down * y], axis=1), rng.uniform(4, 11))
    for k in range(int(rng.integers(2, 7))):
        at = start + 3 + k * rng.uniform(7, 14)
        length = 2 * sheet.half * rng.uniform(0.35, 0.9)
        lean = rng.uniform(-0.2, 0.2) * length
        from_x = float(np.interp(at, y, x))
        sheet.line(np.array([(from_x, down * at), (from_x - side * length, down * (at + lean))]), rng.uniform(3, 6))


def _nail(sheet: _Sheet, rng: np.random.Generator) -> None:
    down = rng.choice((-1, 1))
    x, start = rng.uniform(-6, 6), rng.uniform(0, 20)
    sheet.line(np.array([(x, down * start), (x + rng.uniform(-4, 4), down * 120.0)]), rng.uniform(8, 13))
    for _ in range(int(rng.integers(0, 4))):
        at, reach = down * rng.uniform(start + 5, 60), rng.uniform(18, 36)
        sheet.line(np.array([(-reach, at), (reach, at + rng.uniform(-12, 12))]), rng.uniform(3, 6))


def _screws(sheet: _Sheet, rng: np.random.Generator) -> None:
    down = rng.choice((-1, 1))
    for _ in range(int(rng.integers(1, 4))):
        at, side, length = down * rng.uniform(5, 30), rng.choice((-1, 1)), rng.uniform(28, 70)
        start = side * sheet.half * rng.uniform(0.6, 1.02)
        end = np.array((start - side * length, at + rng.uniform(-15, 15)))
        sheet.line(np.array([(start, at), end]), rng.uniform(4.5, 8))


def _wire(sheet: _Sheet, rng: np.random.Generator) -> None:
    x, y, radius, width = rng.uniform(-8, 8), -rng.uniform(15, 38), rng.uniform(14, 26), rng.uniform(1, 2.2)
    sheet.line(_arc(x, y, radius, radius * rng.uniform(0.8, 1.2), 0, 360), width)
    for _ in range(int(rng.integers(0, 3))):
        pin = x + rng.uniform(-10, 10)
        sheet.line(np.array([(pin, y - radius - 8), (pin + rng.uniform(-3, 3), y + radius + 8)]), width)


#: What can be drawn.
METAL: dict[str, Callable[[_Sheet, np.random.Generator], None]] = {
    "total": _total,
    "partial": _partial,
    "plate": _plate,
    "nail": _nail,
    "screws": _screws,
    "wire": _wire,
}
