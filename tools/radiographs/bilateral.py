"""A bilateral radiograph: both legs, markers, text, collimation, exposure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.radiographs.legs import Leg, Pose, draw_leg, place_leg
from tools.radiographs.markers import letter_mask, stamp

Gray = NDArray[np.float32]

#: Width and height of common radiographs in mm.
SIZES_MM = ((432.0, 356.0), (432.0, 356.0), (356.0, 432.0), (400.0, 333.0))
_TEXTS = ("PA", "AP", "10", "0941", "JB", "WB", "22.5", "FLEX", "16", "7", "KV 60", "3", "MK", "T-20", "5", "A", "Q")


@dataclass(frozen=True)
class RadiographOptions:
    """What a radiograph is like."""

    size_mm: tuple[float, float] = SIZES_MM[0]  #: Width and height.
    mm_per_px: float = 0.2  #: Pixel size.
    #: "right" (both or one side marker, on the proper side), "missing", "swapped", or "mirrored": the whole radiograph
    #: is flipped left to right.
    marker: str = "right"
    max_rotation_deg: float = 15.0  #: Largest turn of a leg.
    max_shift_mm: float = 60.0  #: Largest shift of the pair of knees from the center of the radiograph.
    texts: int = 3  #: Largest number of other texts.
    max_bend_deg: float = 0.0  #: Largest lean of thigh and calf to the same side.
    ruler: str = ""  #: "thin" or "broad": a ruler lies beside or between the legs.
    ball: bool = False  #: Whether a ball of metal, by which the scale is found, lies beside a knee.


@dataclass(frozen=True)
class KneeOnRadiograph:
    """The truth about a knee."""

    side: str  #: "L" or "R".
    center_mm: tuple[float, float]  #: Center of the tibial plateau, (x, y) mm from the radiograph's upper left corner.
    angle_deg: float  #: Angle of the plateau; positive where it descends to the right of the radiograph.
    kl: int | None  #: KL grade, where it is known.


@dataclass(frozen=True)
class SyntheticRadiograph:
    """A radiograph and the truth about it."""

    gray: Gray  #: float32 [H, W], 0 to 1, bone bright.
    mm_per_px: float  #: Pixel size.
    knees: tuple[KneeOnRadiograph, ...]  #: The knees, from left to right on the radiograph.
    #: Letter, (x, y) in mm and height in mm of each side marker.
    markers: tuple[tuple[str, tuple[float, float], float], ...]


def draw_radiograph(
    patient: int, seed: int, options: RadiographOptions, *, sides: str = "RL", replaced: str = ""
) -> SyntheticRadiograph:
    """The radiograph of one synthetic patient; it depends on the arguments alone.

    Args:
        patient: Number of the patient, 0 or more.
        seed: Seed of the cohort.
        options: What the radiograph is like.
        sides: Which knees are on it.
        replaced: Which of them are replaced.
    """
    rng = np.random.default_rng((seed, patient + 1, 7))
    legs = [draw_leg(patient, side, seed, replaced=side in replaced) for side in sides]
    return compose_radiograph(legs, scatter_poses(len(legs), options, rng), options, rng)


def scatter_poses(n: int, options: RadiographOptions, rng: np.random.Generator) -> list[Pose]:
    """Random poses of one or two knees, from left to right, that keep each joint on the radiograph."""
    width, height = options.size_mm
    apart = rng.uniform(125, min(205, width - 150))
    tilt = rng.uniform(-0.5, 0.5) * options.max_rotation_deg
    shift = rng.uniform(-1, 1, 2) * options.max_shift_mm
    y_apart = rng.uniform(-12, 12)
    poses = []
    for k in range(n):
        out = apart * (k - (n - 1) / 2) if n > 1 else rng.choice((-1, 1)) * apart / 2
        x = np.clip(width / 2 + shift[0] + out, 58, width - 58)
        y = np.clip(height / 2 + shift[1] + y_apart * (k - 0.5), 80, height - 80)
        turn = float(np.clip(tilt + rng.uniform(-0.6, 0.6) * options.max_rotation_deg, *_limits(options)))
        bend = rng.uniform(-1, 1) * options.max_bend_deg if options.max_bend_deg else 0.0
        poses.append(Pose((float(x), float(y)), turn, bend))
    if n > 1 and poses[1].center_mm[0] - poses[0].center_mm[0] < 115:
        first = poses[0].center_mm[0] if shift[0] < 0 else poses[1].center_mm[0] - apart
        poses = [replace(pose, center_mm=(first + k * apart, pose.center_mm[1])) for k, pose in enumerate(poses)]
    return poses


def compose_radiograph(
    legs: Sequence[Leg], poses: Sequence[Pose], options: RadiographOptions, rng: np.random.Generator
) -> SyntheticRadiograph:
    """Put legs on a radiograph.

    Args:
        legs: From left to right on the radiograph; a patient's right knee is on the left.
        poses: Where each lies.
        options: What the radiograph is like.
        rng: Source of everything else.
    """
    width, height = options.size_mm
    scale = options.mm_per_px
    shape = (round(height / scale), round(width / scale))
    radiograph = np.zeros(shape, np.float32)
    for leg, pose in zip(legs, poses, strict=True):
        placed = place_leg(leg, pose, shape, scale)
        radiograph = np.maximum(radiograph, placed) + np.float32(0.25) * np.minimum(radiograph, placed)
    truth = [_truth(leg, pose) for leg, pose in zip(legs, poses, strict=True)]
    return expose(radiograph, truth, options, rng)


def expose(
    radiograph: Gray, truth: Sequence[KneeOnRadiograph], options: RadiographOptions, rng: np.random.Generator
) -> SyntheticRadiograph:
    """What lies on the table as a radiograph: scatter, exposure, collimation, markers, texts and noise.

    Args:
        radiograph: float32 [H, W], 0 to 1; it may be changed.
        truth: The knees on it, from left to right.
        options: What the radiograph is like.
        rng: Source of everything else.
    """
    width, _ = options.size_mm
    scale, shape = options.mm_per_px, radiograph.shape
    radiograph += np.float32(rng.uniform(0, 0.05))
    exposure = np.float32(rng.uniform(0.75, 1.35))
    radiograph = np.clip(radiograph, 0, 1) ** exposure
    white = float(rng.uniform(0.75, 1.0))
    if options.ruler:
        _lay_ruler(radiograph, options, white, rng)
    if options.ball and truth:
        knee = truth[int(rng.integers(len(truth)))]
        x = (knee.center_mm[0] + rng.choice((-1, 1)) * rng.uniform(58, 85)) / scale
        y = (knee.center_mm[1] + rng.uniform(-60, 40)) / scale
        cv2.circle(radiograph, (round(x), round(y)), round(rng.uniform(9, 15) / scale), 1.0, -1, cv2.LINE_AA)
    # Markers lie within the field that was exposed; the other texts are the system's and lie anywhere.
    _collimate(radiograph, scale, rng)
    placed_markers = _mark(radiograph, truth, options, white, rng)
    _write(radiograph, options, white, rng)
    radiograph += np.float32(rng.uniform(0.003, 0.012)) * rng.standard_normal(shape, dtype=np.float32)
    radiograph = np.clip(radiograph, 0, 1)
    if options.marker == "mirrored":
        radiograph = np.ascontiguousarray(radiograph[:, ::-1])
        truth = [
            KneeOnRadiograph(k.side, (width - k.center_mm[0], k.center_mm[1]), -k.angle_deg, k.kl)
            for k in reversed(truth)
        ]
        placed_markers = [("mirrored", (width - x, y), size) for _, (x, y), size in placed_markers]
    return SyntheticRadiograph(radiograph, scale, tuple(truth), tuple(placed_markers))


def _limits(options: RadiographOptions) -> tuple[float, float]:
    # The plateau itself leans by a few degrees in the leg's picture; the sum stays near the limit.
    return -options.max_rotation_deg, options.max_rotation_deg


def _truth(leg: Leg, pose: Pose) -> KneeOnRadiograph:
    return KneeOnRadiograph(leg.side, pose.center_mm, leg.angle_deg + pose.rotation_deg, leg.kl)


def _mark(
    radiograph: Gray,
    knees: Sequence[KneeOnRadiograph],
    options: RadiographOptions,
    white: float,
    rng: np.random.Generator,
) -> list[tuple[str, tuple[float, float], float]]:
    """Side markers beside the knees, lateral; in place."""
    if options.marker == "missing" or not knees:
        return []
    height, style, framed = rng.uniform(9, 20), int(rng.integers(100)), rng.random()
    frame = "circle" if framed < 0.12 else "box" if framed < 0.24 else ""
    chosen = list(range(len(knees)))
    if len(knees) > 1 and rng.random() < 0.4:
        chosen = [int(rng.integers(len(knees)))]
    placed = []
    for k in chosen:
        knee = knees[k]
        letter = knee.side if options.marker != "swapped" else "LR"[knee.side == "L"]
        out = -1 if knee.side == "R" else 1
        x = knee.center_mm[0] + out * rng.uniform(52, 85)
        y = knee.center_mm[1] + rng.uniform(-85, 85)
        x = float(np.clip(x, 32, options.size_mm[0] - 32))
        y = float(np.clip(y, 32, options.size_mm[1] - 32))
        if abs(x - knee.center_mm[0]) < 50:
            # No room beside the joint: above or below it.
            y = knee.center_mm[1] + float(rng.choice((-1, 1))) * rng.uniform(48, 70)
        mask = letter_mask(letter, height, options.mm_per_px, rng.uniform(-18, 18), style, frame=frame)
        stamp(radiograph, mask, (x / options.mm_per_px, y / options.mm_per_px), white)
        placed.append((letter, (x, y), float(height)))
    return placed


def _write(radiograph: Gray, options: RadiographOptions, white: float, rng: np.random.Generator) -> None:
    """Other texts near the radiograph's edges, in place."""
    for _ in range(int(rng.integers(options.texts + 1))):
        text = _TEXTS[int(rng.integers(len(_TEXTS)))]
        x = float(rng.uniform(20, options.size_mm[0] - 20))
        y = float(rng.choice((rng.uniform(10, 26), options.size_mm[1] - rng.uniform(10, 26))))
        mask = letter_mask(text, rng.uniform(4, 11), options.mm_per_px, rng.uniform(-8, 8), int(rng.integers(100)))
        stamp(radiograph, mask, (x / options.mm_per_px, y / options.mm_per_px), white)


def _lay_ruler(radiograph: Gray, options: RadiographOptions, white: float, rng: np.random.Generator) -> None:
    """A ruler from top to bottom: strokes and numbers, bright, or dark on a bright strip; in place."""
    width, height = options.size_mm
    scale = options.mm_per_px
    x = float(rng.choice((width / 2 + rng.uniform(-30, 30), rng.uniform(12, 40), width - rng.uniform(12, 40))))
    length, offset = rng.uniform(3, 8), rng.uniform(0, 50)
    thick = max(1, round(rng.uniform(0.5, 1.5) / scale))
    strokes = np.zeros(radiograph.shape, np.uint8)

    def line(*ends: tuple[float, float]) -> None:
        (ax, ay), (bx, by) = ((round(a / scale), round(b / scale)) for a, b in ends)
        cv2.line(strokes, (ax, ay), (bx, by), 255, thick, cv2.LINE_AA)

    broad = options.ruler == "broad"
    size = rng.uniform(12, 18) if broad else 5.0
    line((x, 0), (x, height))
    for y in np.arange(offset - 50, height, 10):
        line((x, y), (x + length, y))
    letters = np.zeros(radiograph.shape, np.float32)
    for k, y in enumerate(np.arange(offset, height, 50)):
        line((x, y), (x + 2 * length, y))
        number = letter_mask(str(k if broad else 5 * k), size, scale, 0, 0)
        stamp(letters, number, ((x + 2.5 * length + 6) / scale, y / scale), 1.0)
    marks = np.maximum(letters, strokes.astype(np.float32) * np.float32(1 / 255))
    if broad:
        left, right = round((x - 3) / scale), round((x + 2 * length + rng.uniform(14, 20)) / scale)
        strip = radiograph[:, max(0, left) : max(0, right)]
        strip += np.float32(rng.uniform(0.6, 1.0)) * np.maximum(np.float32(white) - strip, 0)
        radiograph *= 1 - np.float32(rng.uniform(0.6, 1.0)) * marks
    else:
        radiograph += marks * np.maximum(np.float32(white) - radiograph, 0)


def _collimate(radiograph: Gray, mm_per_px: float, rng: np.random.Generator) -> None:
    """Borders beyond the collimator: black where the system blackens them, bright where nothing was exposed."""
    if rng.random() < 0.35:
        return
    tone = np.float32(rng.choice((0.0, rng.uniform(0.5, 0.95))))
    height, width = radiograph.shape
    mask = np.full(radiograph.shape, 255, np.uint8)
    depth = rng.uniform(0, 16, 4) / mm_per_px
    lean = rng.uniform(-4, 4, 4) / mm_per_px
    corners = np.array([
        (depth[0] + lean[0], depth[1] + lean[1]), (width - depth[2] + lean[2], depth[1] - lean[1]),
        (width - depth[2] - lean[2], height - depth[3] + lean[3]), (depth[0] - lean[0], height - depth[3] - lean[3]),
    ])  # fmt: skip
    cv2.fillConvexPoly(mask, np.round(corners).astype(np.int32), 0, cv2.LINE_AA)
    radiograph += (tone - radiograph) * (mask.astype(np.float32) * np.float32(1 / 255))
