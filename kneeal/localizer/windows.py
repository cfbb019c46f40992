"""Windows of a radiograph: any center, any angle, any pixel size; and how they are scaled for the networks."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Gray8 = NDArray[np.uint8]


def cut_window(
    radiograph: NDArray[Any],
    mm_per_px: tuple[float, float],
    center_mm: tuple[float, float],
    angle_deg: float,
    size_px: int,
    window_mm_per_px: float,
) -> NDArray[Any]:
    """A square window of a radiograph, turned so that a line at `angle_deg` on the radiograph is level in it.

    Pixels beyond the radiograph are black. The radiograph should not be much finer than the window: nothing is
    averaged here.

    Args:
        radiograph: uint8 or uint16 [H, W].
        mm_per_px: Height and width of its pixels in mm.
        center_mm: Center of the window, (x, y) mm from the radiograph's upper left corner.
        angle_deg: Clockwise.
        size_px: Side of the window.
        window_mm_per_px: Pixel size of the window.

    Returns:
        [size_px, size_px], of the type of the radiograph.
    """
    turn = np.deg2rad(angle_deg)
    cos, sin = np.cos(turn) * window_mm_per_px, np.sin(turn) * window_mm_per_px
    # From a pixel of the window to mm on the radiograph, then to a pixel of the radiograph.
    half = (size_px - 1) / 2
    to_mm = np.array([
        [cos, -sin, center_mm[0] - half * cos + half * sin],
        [sin, cos, center_mm[1] - half * sin - half * cos],
    ])  # fmt: skip
    to_px = to_mm / np.array([[mm_per_px[1]], [mm_per_px[0]]])
    to_px[:, 2] -= 0.5
    window = cv2.warpAffine(
        radiograph,
        to_px,
        (size_px, size_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
    )
    return np.asarray(window, radiograph.dtype)


def shrink(radiograph: Gray8, mm_per_px: tuple[float, float], target_mm: float) -> tuple[Gray8, tuple[float, float]]:
    """The radiograph at about `target_mm` a pixel, each pixel the mean of what it covers; never enlarged.

    Returns:
        uint8 [h, w] and the exact height and width of its pixels in mm.
    """
    height, width = radiograph.shape
    rows = min(height, max(1, round(height * mm_per_px[0] / target_mm)))
    columns = min(width, max(1, round(width * mm_per_px[1] / target_mm)))
    if (rows, columns) == (height, width):
        return radiograph, mm_per_px
    # Whole factors are ten times as fast as others. What is left is a factor of 2 to 4, so that nothing blurs.
    factor = max(1, int(min(height / rows, width / columns) / 2))
    reduced = reduce_whole(radiograph, factor)
    small = cv2.resize(reduced, (columns, rows), interpolation=cv2.INTER_AREA)
    high, wide = (mm * factor * n for mm, n in zip(mm_per_px, reduced.shape, strict=True))
    return np.asarray(small, np.uint8), (high / rows, wide / columns)


def reduce_whole(radiograph: Gray8, factor: int) -> Gray8:
    """Each pixel the mean of `factor` x `factor`; what is left over at the right and lower edge is cut off."""
    if factor <= 1:
        return radiograph
    rows, columns = radiograph.shape[0] // factor, radiograph.shape[1] // factor
    whole = radiograph[: rows * factor, : columns * factor]
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)


def stretch(windows: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Windows uint8 [B, H, W], each scaled to 0 .. 1 between its 1st and 99th percentile, as float32 [B, 1, H, W]."""
    out = np.zeros((len(windows), 1, *windows.shape[1:]), np.float32)
    for target, window in zip(out, windows, strict=True):
        share = np.cumsum(np.bincount(window.ravel(), minlength=256)) / window.size
        low, high = np.searchsorted(share, (0.01, 0.99))
        if high > low:
            target[0] = np.clip((window.astype(np.float32) - low) / (high - low), 0, 1)
    return out


def to_radiograph(points: NDArray[np.float64], center_mm: tuple[float, float], angle_deg: float) -> NDArray[np.float64]:
    """Points in mm from the center of a window, on the radiograph; [..., 2]."""
    turn = np.deg2rad(angle_deg)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.asarray(points @ matrix + np.asarray(center_mm), np.float64)
