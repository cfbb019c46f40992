"""Windows of side markers and of other text, stamped onto places of a radiograph: many, cheap and of every kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kneeal.localizer.networks import MARKER_CLASSES, MARKER_MM, MARKER_PX
from kneeal.localizer.windows import cut_window
from kneeal.radiograph.gray import HIGH_PERCENTILE, LOW_PERCENTILE
from tools.radiographs import SyntheticRadiograph
from tools.radiographs.markers import letter_mask, stamp

#: How often each kind comes: the letters, their mirror images, other text, and the radiograph as it is.
_KINDS: Sequence[tuple[str, float]] = (("R", 0.24), ("L", 0.24), ("mirrored", 0.24), ("text", 0.2), ("", 0.08))
#: R and L are no other text, and a mirrored J can pass for an L.
_CHARACTERS = "ABCDEFGHIKMNOPQSTUVWXYZ0123456789"
#: A letter that is brighter by less than this many of 255 levels cannot be read: on white there is nothing to learn.
SEEN = 25
#: Side of the piece of radiograph that is worked on: the window and what its place varies by.
_PIECE_MM = 64.0


def letter_windows(
    radiograph: SyntheticRadiograph, n: int, rng: np.random.Generator
) -> tuple[list[NDArray[np.uint8]], list[int]]:
    """Windows as the marker network sees them.

    Args:
        radiograph: Where they are cut; not changed. Its own markers and texts may be near, as in life.
        n: How many.
        rng: Source of everything random.

    Returns:
        uint8 [48, 48] each, and their classes (indices into `MARKER_CLASSES`).
    """
    low, high = np.percentile(radiograph.gray, (LOW_PERCENTILE, HIGH_PERCENTILE))
    if not high > low:
        return [], []
    half = round(_PIECE_MM / 2 / radiograph.mm_per_px)
    height, width = radiograph.gray.shape
    names, shares = [name for name, _ in _KINDS], [share for _, share in _KINDS]
    windows, kinds = [], []
    for _ in range(n):
        kind = str(rng.choice(names, p=shares))
        column, row = _spot(radiograph, half, rng)
        if not kind and _near_marker(radiograph, column, row):
            continue
        piece = radiograph.gray[max(0, row - half) : row + half, max(0, column - half) : column + half].copy()
        center = (float(min(column, half)), float(min(row, half)))
        if min(height, width) <= 2 * half:
            continue
        before = _scaled(piece, low, high)
        if kind:
            _write(piece, kind, center, radiograph.mm_per_px, rng)
        gray = _scaled(piece, low, high)
        if kind in ("R", "L", "mirrored") and int(np.subtract(gray, before, dtype=np.int16).max()) < SEEN:
            continue
        # Where the coarse network points is off by a few mm.
        away = rng.normal(0, 2.5, 2).clip(-7, 7)
        spot = (center[0] * radiograph.mm_per_px + away[0], center[1] * radiograph.mm_per_px + away[1])
        window = cut_window(gray, (radiograph.mm_per_px, radiograph.mm_per_px), spot, 0.0, MARKER_PX, MARKER_MM)
        # All of a mirrored radiograph is mirrored: letters, and texts, which are no markers either way.
        if kind == "mirrored" or (kind == "text" and rng.random() < 0.4):
            window = np.ascontiguousarray(window[:, ::-1])
        windows.append(window)
        kinds.append(MARKER_CLASSES.index("" if kind == "text" else kind))
    return windows, kinds


def _scaled(piece: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    return np.asarray(np.clip((piece - low) * (255 / (high - low)), 0, 255), np.uint8)


def _spot(radiograph: SyntheticRadiograph, half: int, rng: np.random.Generator) -> tuple[int, int]:
    """A pixel of the radiograph: beside a knee, near an edge, or anywhere."""
    height, width = radiograph.gray.shape
    where = rng.random()
    if where < 0.4 and radiograph.knees:
        knee = radiograph.knees[int(rng.integers(len(radiograph.knees)))]
        x, y = (value / radiograph.mm_per_px for value in knee.center_mm)
        x += rng.choice((-1, 1)) * rng.uniform(45, 90) / radiograph.mm_per_px
        y += rng.uniform(-85, 85) / radiograph.mm_per_px
    elif where < 0.7:
        x, y = rng.uniform(0, width), rng.choice((18, height * radiograph.mm_per_px - 18)) / radiograph.mm_per_px
    else:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
    least = half // 2
    return int(np.clip(x, least, width - least - 1)), int(np.clip(y, least, height - least - 1))


def _near_marker(radiograph: SyntheticRadiograph, column: int, row: int) -> bool:
    x, y = column * radiograph.mm_per_px, row * radiograph.mm_per_px
    return any(np.hypot(x - at[0], y - at[1]) < 0.8 * size + 14 for _, at, size in radiograph.markers)


def _write(
    piece: NDArray[np.float32], kind: str, center: tuple[float, float], mm_per_px: float, rng: np.random.Generator
) -> None:
    """Stamp a letter or a text, in place."""
    style, white = int(rng.integers(100)), float(rng.uniform(0.7, 1.0))
    if kind == "text":
        text = "".join(rng.choice(list(_CHARACTERS), int(rng.choice((1, 2, 2, 3, 4)))))
        mask = letter_mask(text, rng.uniform(4, 15), mm_per_px, rng.uniform(-12, 12), style)
    else:
        letter = str(rng.choice(("R", "L"))) if kind == "mirrored" else kind
        framed = rng.random()
        frame = "circle" if framed < 0.12 else "box" if framed < 0.24 else ""
        mask = letter_mask(letter, rng.uniform(8, 21), mm_per_px, rng.uniform(-20, 20), style, frame=frame)
    stamp(piece, mask, center, white)
    piece += np.float32(rng.uniform(0, 0.01)) * rng.standard_normal(piece.shape, dtype=np.float32)
