"""The picture of a knee as a person sees it, and where on it the patches lie that the network sees."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kneeal.data.patches import FIELD_PX, MM_PER_PX, PATCH_PX
from kneeal.prepare.folder import read_gray
from kneeal.radiograph import ReadOptions, read_radiograph

_GAP_PX = 8
_TOP_PX = FIELD_PX // 3


@dataclass(frozen=True)
class Box:
    """A rectangle on a picture, in px; x to the right, y down."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, eq=False)
class KneePicture:
    """What a reader sees of a knee."""

    pixels: NDArray[Any]  #: uint8 or uint16 [H, W], not mirrored.
    medial: Box | None  #: Where the medial patch lies, None if that is not known.
    lateral: Box | None  #: Where the lateral patch lies.
    mm_per_px: float | None  #: Size of a pixel, None if that is not known.
    full: bool  #: Whether it comes from the source picture, at its resolution; if not, it is both patches side by side.


def patch_boxes(
    shape: tuple[int, ...], mm_per_px: float, side: str, *, joint_offset_mm: float = 0.0
) -> tuple[Box, Box]:
    """Where `patches.cut_patch_pair` cuts the medial and the lateral patch.

    Args:
        shape: [H, W] of the picture, not mirrored.
        mm_per_px: Size of its pixels.
        side: "L" or "R".
        joint_offset_mm: As given to `cut_patch_pair`.

    Returns:
        The medial and the lateral box, in px of that picture.
    """
    scale = mm_per_px / MM_PER_PX
    width, height = (round(length * scale) for length in shape[1::-1])
    top = round(height / 2 - FIELD_PX / 2 + _TOP_PX + joint_offset_mm / MM_PER_PX)
    top = min(max(top, 0), height - PATCH_PX)
    left = max(0, round((width - FIELD_PX) / 2))
    x, y = shape[1] / width, shape[0] / height

    def box(start: int) -> Box:
        start = width - PATCH_PX - start if side == "L" else start
        return Box(start * x, top * y, PATCH_PX * x, PATCH_PX * y)

    return box(width - left - PATCH_PX), box(left)


def side_by_side(pair: NDArray[np.uint8], side: str) -> KneePicture:
    """Both patches as they lie in the knee, with a gap between them.

    Args:
        pair: uint8 [2, H, H], medial then lateral, each with the joint's margin on its left.
        side: "L" (lateral on the right of the picture) or "R".
    """
    size = pair.shape[1]
    medial, lateral = pair[0][:, ::-1], pair[1]  # as in a right knee: lateral, gap, medial
    gap = np.zeros((size, _GAP_PX), np.uint8)
    picture = np.concatenate([lateral, gap, medial], axis=1)
    far = size + _GAP_PX
    boxes = Box(far, 0, size, size), Box(0, 0, size, size)
    if side == "L":
        picture, boxes = picture[:, ::-1], boxes[::-1]
    return KneePicture(np.ascontiguousarray(picture), *boxes, mm_per_px=PATCH_PX * MM_PER_PX / size, full=False)


def read_picture(path: Path, bits: int = 8) -> NDArray[Any]:
    """Read a source picture, bone white: a DICOM radiograph at its clipped intensities, others as saved.

    Args:
        path: The file.
        bits: At most so many, 8 or 16.

    Returns:
        uint8 or uint16 [H, W].
    """
    if path.suffix.lower() in (".dcm", ".dicom", ""):
        # Where the header has no pixel size none is needed: nothing is measured on this picture.
        return read_radiograph(path, ReadOptions(mm_per_px=1.0, bits=bits)).gray
    return _scale(read_gray(path), bits)


def to_png(pixels: NDArray[Any]) -> bytes:
    """A PNG that holds the pixels and nothing else.

    Browsers show 8 bits of a channel: of 16 bits, red holds the high byte and green the low one.
    """
    if pixels.dtype == np.uint16:
        low, high = (pixels & 255).astype(np.uint8), (pixels >> 8).astype(np.uint8)
        pixels = cv2.merge([np.zeros_like(low), low, high])  # OpenCV writes blue first
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise RuntimeError("OpenCV could not encode a picture")
    return bytes(data.tobytes())


def _scale(pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    """16-bit pixels over the whole range of 8 or 16 bits; 8-bit ones as they are."""
    if pixels.dtype == np.uint8:
        return pixels
    values = pixels.astype(np.float32)
    low, high = float(values.min()), float(np.percentile(values, 99.9))
    top = 2.0**bits - 1
    scaled = np.clip((values - low) * (top / max(high - low, 1e-6)), 0, top)
    gray: NDArray[Any] = np.rint(scaled).astype(np.uint8 if bits == 8 else np.uint16)
    return gray
