"""Side markers and other text on a radiograph."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Gray = NDArray[np.float32]

_FONTS = (
    "DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf", "DejaVuSerif.ttf",
    "DejaVuSerif-Bold.ttf", "DejaVuSans-Oblique.ttf", "STIXGeneral.ttf", "STIXGeneralBol.ttf", "cmr10.ttf",
    "cmss10.ttf",
)  # fmt: skip


@lru_cache(maxsize=256)
def _glyphs(text: str, font: int, px: int) -> NDArray[np.uint8]:
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", _FONTS[font % len(_FONTS)])
    face = ImageFont.truetype(str(path), px)
    left, top, right, bottom = face.getbbox(text)
    canvas = Image.new("L", (round(right - left) + 2, round(bottom - top) + 2), 0)
    ImageDraw.Draw(canvas).text((1 - left, 1 - top), text, fill=255, font=face)
    return np.asarray(canvas, np.uint8)


def letter_mask(
    text: str, height_mm: float, mm_per_px: float, rotation_deg: float, style: int, *, frame: str = ""
) -> NDArray[np.uint8]:
    """A short text as it lies on the radiograph.

    Args:
        text: What is written.
        height_mm: Height of a capital letter.
        mm_per_px: Pixel size.
        rotation_deg: How far it is turned.
        style: Which typeface; any integer.
        frame: "circle", "box" or nothing, around the text.

    Returns:
        uint8 [h, w], 255 where there is lead.
    """
    # Drawn large, then brought to size, so that small letters are as smooth as a radiograph's.
    fine = _glyphs(text, style, 64)
    cap = _glyphs("R", style, 64).shape[0]
    scale = height_mm / mm_per_px / cap
    margin = round(0.6 * cap)
    fine = np.asarray(
        cv2.copyMakeBorder(fine, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(0,)), np.uint8
    )
    height, width = fine.shape
    stroke = max(2, round(0.07 * cap))
    if frame == "circle":
        cv2.circle(fine, (width // 2, height // 2), min(height, width) // 2 - stroke, 255, stroke, cv2.LINE_AA)
    elif frame == "box":
        cv2.rectangle(fine, (stroke, stroke), (width - stroke - 1, height - stroke - 1), 255, stroke, cv2.LINE_AA)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -rotation_deg, 1.0)
    reach = int(np.hypot(width, height)) + 2
    matrix[:, 2] += ((reach - width) / 2, (reach - height) / 2)
    turned = np.asarray(cv2.warpAffine(fine, matrix, (reach, reach)), np.uint8)
    size = max(3, round(reach * scale))
    return np.asarray(cv2.resize(turned, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def stamp(radiograph: Gray, mask: NDArray[np.uint8], center_px: tuple[float, float], white: float) -> None:
    """Put a mask on a radiograph, in place; what reaches beyond the radiograph is cut off."""
    size = mask.shape[0]
    x0, y0 = round(center_px[0] - size / 2), round(center_px[1] - size / 2)
    left, top = max(0, -x0), max(0, -y0)
    right, bottom = min(size, radiograph.shape[1] - x0), min(size, radiograph.shape[0] - y0)
    if left >= right or top >= bottom:
        return
    area = radiograph[y0 + top : y0 + bottom, x0 + left : x0 + right]
    share = mask[top:bottom, left:right].astype(np.float32) * np.float32(1 / 255)
    area += share * np.maximum(np.float32(white) - area, 0)
