"""Drawing primitives of the synthetic film: its size, filled and stroked curves, blur, random texture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from kneeal.data.patches import MM_PER_PX
from kneeal.data.synthetic.shape import Array

Film = NDArray[np.float32]

FILM_MM = 140.0
FILM_PX = round(FILM_MM / MM_PER_PX)
_SHIFT = 4  # fractional bits of the coordinates that cv2 is given
CENTRE_PX = (FILM_PX - 1) / 2


def pixels(points: Array) -> NDArray[np.int32]:
    """Film coordinates with fractional bits, of points in mm from the middle of the film."""
    return np.round((points / MM_PER_PX + CENTRE_PX) * (1 << _SHIFT)).astype(np.int32)


def blank() -> NDArray[np.uint8]:
    """An empty canvas, ``[382, 382]``."""
    return np.zeros((FILM_PX, FILM_PX), np.uint8)


def fill(canvas: NDArray[np.uint8], outline: Array, grey: int = 255) -> None:
    """Fill a closed outline ``[n, 2]`` in mm with a grey, smooth at its edge."""
    cv2.fillPoly(canvas, [pixels(outline)], grey, cv2.LINE_AA, _SHIFT)


def stroke(canvas: NDArray[np.uint8], line: Array, grey: int, thickness: int, closed: bool = False) -> None:
    """Draw a line ``[n, 2]`` in mm, ``thickness`` px wide; what it covers is replaced, not added to."""
    cv2.polylines(canvas, [pixels(line)], closed, grey, thickness, cv2.LINE_AA, _SHIFT)


def blur(image: Film, sigma_mm: float) -> Film:
    """Gaussian blur of this standard deviation."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_mm / MM_PER_PX), dtype=np.float32)


def blur_grey(canvas: NDArray[np.uint8], across_mm: float, along_mm: float) -> Film:
    """Blur a canvas of 8 bit, which is several times quicker than one of floats; 0 to 1."""
    blurred = cv2.GaussianBlur(canvas, (0, 0), across_mm / MM_PER_PX, sigmaY=along_mm / MM_PER_PX)
    return np.asarray(blurred * np.float32(1 / 255), dtype=np.float32)


def field(rng: np.random.Generator, cells: int) -> Film:
    """Smooth random field of unit scale."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (FILM_PX, FILM_PX), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def noise(rng: np.random.Generator, across_mm: float, along_mm: float) -> Film:
    """Blurred noise of mean 0 and unit variance; near normal, since each pixel sums many uniform ones."""
    raw = np.frombuffer(rng.bytes(FILM_PX * FILM_PX), np.uint8).reshape(FILM_PX, FILM_PX)
    grains = blur_grey(raw, across_mm, along_mm)
    mean, sd = cv2.meanStdDev(grains)
    return np.asarray((grains - np.float32(mean[0, 0])) * np.float32(1 / sd[0, 0]), dtype=np.float32)


def sharpen(attenuation: Film, strength: float) -> None:
    """Unsharp masking with a kernel of 3 mm, in place; the blur is made at a quarter of the size."""
    small = np.asarray(cv2.resize(attenuation, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA), np.float32)
    base = cv2.resize(blur(small, 0.75), (FILM_PX, FILM_PX), interpolation=cv2.INTER_LINEAR)
    attenuation += np.float32(strength) * (attenuation - base)


def collimate(film: Film, edges: tuple[tuple[float, float], tuple[float, float]], black: float) -> None:
    """Darken what lies beyond the collimator's edges, in place."""
    for sign, (distance, angle) in zip((-1, 1), edges, strict=True):
        if distance >= FILM_MM / 2:
            continue
        lean = np.tan(np.deg2rad(angle)) * FILM_MM / 2
        far = sign * FILM_MM
        shade = blank()
        fill(shade, np.array([
            (sign * distance - lean, -FILM_MM / 2), (sign * distance + lean, FILM_MM / 2),
            (far, FILM_MM / 2), (far, -FILM_MM / 2),
        ]))  # fmt: skip
        film += (np.float32(black) - film) * blur_grey(shade, 0.4, 0.4)
