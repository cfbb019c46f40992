"""Drawing primitives of the synthetic radiograph: its size, filled and stroked curves, blur, random texture."""

import cv2
import numpy as np
from numpy.typing import NDArray

from kneeal.data.patches import MM_PER_PX
from kneeal.data.synthetic.shape import Array

Image = NDArray[np.float32]

RADIOGRAPH_MM = 140.0
RADIOGRAPH_PX = round(RADIOGRAPH_MM / MM_PER_PX)
_SHIFT = 4  # fractional bits of the coordinates that cv2 is given
CENTER_PX = (RADIOGRAPH_PX - 1) / 2


def pixels(points: Array) -> NDArray[np.int32]:
    """Radiograph coordinates with fractional bits, of points in mm from the center of the radiograph."""
    return np.round((points / MM_PER_PX + CENTER_PX) * (1 << _SHIFT)).astype(np.int32)


def blank() -> NDArray[np.uint8]:
    """An empty canvas, ``[382, 382]``."""
    return np.zeros((RADIOGRAPH_PX, RADIOGRAPH_PX), np.uint8)


def fill(canvas: NDArray[np.uint8], outline: Array, gray: int = 255) -> None:
    """Fill a closed outline ``[n, 2]`` in mm with a gray, smooth at its edge."""
    cv2.fillPoly(canvas, [pixels(outline)], gray, cv2.LINE_AA, _SHIFT)


def stroke(canvas: NDArray[np.uint8], line: Array, gray: int, thickness: int, closed: bool = False) -> None:
    """Draw a line ``[n, 2]`` in mm, ``thickness`` px wide; what it covers is replaced, not added to."""
    cv2.polylines(canvas, [pixels(line)], closed, gray, thickness, cv2.LINE_AA, _SHIFT)


def blur(image: Image, sigma_mm: float) -> Image:
    """Gaussian blur of this standard deviation."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_mm / MM_PER_PX), dtype=np.float32)


def blur_gray(canvas: NDArray[np.uint8], across_mm: float, along_mm: float) -> Image:
    """Blur a canvas of 8 bit, which is several times quicker than one of floats; 0 to 1."""
    blurred = cv2.GaussianBlur(canvas, (0, 0), across_mm / MM_PER_PX, sigmaY=along_mm / MM_PER_PX)
    return np.asarray(blurred * np.float32(1 / 255), dtype=np.float32)


def field(rng: np.random.Generator, cells: int) -> Image:
    """Smooth random field of unit scale."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(
        cv2.resize(coarse, (RADIOGRAPH_PX, RADIOGRAPH_PX), interpolation=cv2.INTER_LINEAR), dtype=np.float32
    )


def noise(rng: np.random.Generator, across_mm: float, along_mm: float) -> Image:
    """Blurred noise of mean 0 and unit variance; near normal, since each pixel sums many uniform ones."""
    raw = np.frombuffer(rng.bytes(RADIOGRAPH_PX * RADIOGRAPH_PX), np.uint8).reshape(RADIOGRAPH_PX, RADIOGRAPH_PX)
    grains = blur_gray(raw, across_mm, along_mm)
    mean, sd = cv2.meanStdDev(grains)
    return np.asarray((grains - np.float32(mean[0, 0])) * np.float32(1 / sd[0, 0]), dtype=np.float32)


def sharpen(attenuation: Image, strength: float) -> None:
    """Unsharp masking with a kernel of 3 mm, in place; the blur is made at a quarter of the size."""
    small = np.asarray(cv2.resize(attenuation, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA), np.float32)
    base = cv2.resize(blur(small, 0.75), (RADIOGRAPH_PX, RADIOGRAPH_PX), interpolation=cv2.INTER_LINEAR)
    attenuation += np.float32(strength) * (attenuation - base)


def collimate(radiograph: Image, edges: tuple[tuple[float, float], tuple[float, float]], black: float) -> None:
    """Darken what lies beyond the collimator's edges, in place."""
    for sign, (distance, angle) in zip((-1, 1), edges, strict=True):
        if distance >= RADIOGRAPH_MM / 2:
            continue
        lean = np.tan(np.deg2rad(angle)) * RADIOGRAPH_MM / 2
        far = sign * RADIOGRAPH_MM
        shade = blank()
        fill(shade, np.array([
            (sign * distance - lean, -RADIOGRAPH_MM / 2), (sign * distance + lean, RADIOGRAPH_MM / 2),
            (far, RADIOGRAPH_MM / 2), (far, -RADIOGRAPH_MM / 2),
        ]))  # fmt: skip
        radiograph += (np.float32(black) - radiograph) * blur_gray(shade, 0.4, 0.4)
