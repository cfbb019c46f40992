"""The shafts of femur, tibia and fibula beyond the picture of a knee, and thigh and calf around them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Gray8 = NDArray[np.uint8]
Row = NDArray[np.float32]

#: What is drawn on each side in mm, from how many mm of the picture, and where it has replaced the picture's edge.
_LENGTH_MM, _EDGE_MM, _BLEND_MM = 110.0, 3.0, 10.0


def add_shafts(picture: Gray8, mm_per_px: float, lateral: int, rng: np.random.Generator) -> Gray8:
    """The picture with as much added above it as below it, so that its center stays where it is.

    Args:
        picture: uint8 [H, W], bone bright.
        mm_per_px: Size of its pixels.
        lateral: -1 where the fibula is on the left of the picture, 1 where it is on the right.
        rng: Source of everything random.
    """
    edge = max(1, round(_EDGE_MM / mm_per_px))
    above = _limb(picture[:edge].mean(axis=0, dtype=np.float32), mm_per_px, 0, rng)[::-1]
    below = _limb(picture[-edge:].mean(axis=0, dtype=np.float32), mm_per_px, lateral, rng)
    return np.concatenate([above, picture, below])


def _limb(edge: Row, mm_per_px: float, lateral: int, rng: np.random.Generator) -> Gray8:
    """What goes on from an edge of the picture, row by row away from it; with a fibula where `lateral` is not 0."""
    edge = cv2.GaussianBlur(edge[None], (0, 0), 1 / mm_per_px)[0]
    n, width = round(_LENGTH_MM / mm_per_px), len(edge)
    tissue = edge[edge > 0.25 * edge.max()]
    soft = float(np.percentile(tissue, 35)) if len(tissue) else 0.0
    bump = max(float(edge.max()) - soft, 15.0)
    bone = np.flatnonzero(edge > soft + 0.5 * bump)
    x = (np.arange(width, dtype=np.float32) - (bone.mean() if len(bone) else width / 2))[None, :] * mm_per_px
    far = (np.arange(n, dtype=np.float32)[:, None] + 0.5) * mm_per_px
    # Thigh and calf: the edge without its bone, wider or narrower farther away.
    flare = 1 + far * float(rng.uniform(-0.05, 0.2)) / 100
    columns = np.asarray(x / flare / mm_per_px - x[0, 0] / mm_per_px, np.float32)
    rows = np.zeros_like(columns)
    flesh = cv2.remap(np.minimum(edge, soft)[None], columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    flesh = flesh * (1 + far * float(rng.uniform(-0.15, 0.15)) / 100)
    start = float(np.clip(len(bone) * mm_per_px / 2, 12, 30))
    radius = np.maximum(float(rng.uniform(11, 16)), start - far * float(rng.uniform(0.15, 0.5)))
    lean = far * float(rng.uniform(-0.06, 0.06))
    drawn = flesh + bump * _tube(x - lean, radius, rng)
    if lateral:
        away = lateral * (start + float(rng.uniform(3, 12))) * (1 - 0.1 * far / _LENGTH_MM)
        drawn += bump * float(rng.uniform(0.4, 0.9)) * _tube(x - away, np.full_like(far, rng.uniform(4.5, 7)), rng)
    noise = cv2.GaussianBlur(rng.standard_normal((n, width), dtype=np.float32), (0, 0), 0.6 / mm_per_px)
    drawn *= 1 + noise * (float(rng.uniform(0, 0.03)) / max(float(noise.std()), 1e-6))
    share = np.clip(far / _BLEND_MM, 0, 1)
    return np.asarray(np.clip(edge * (1 - share) + drawn * share, 0, 255), np.uint8)


def _tube(x: NDArray[np.float32], radius: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The absorption of a hollow bone: about 1 in its cortex, less between."""
    wall, inside = float(rng.uniform(3, 6)), radius - np.abs(x)
    outer, inner = (1 / (1 + np.exp(-np.clip(depth, -60, 60))) for depth in (inside / 0.5, (inside - wall) / 1.0))
    return np.asarray(float(rng.uniform(0.8, 1.2)) * outer - float(rng.uniform(0.15, 0.6)) * inner, np.float32)
