"""A bilateral film: both legs, markers, text, collimation, exposure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kneeal.data.synthetic.radiographs.legs import Leg, Pose, draw_leg, place_leg
from kneeal.data.synthetic.radiographs.markers import letter_mask, stamp

Grey = NDArray[np.float32]

#: Width and height of common films in mm.
SIZES_MM = ((432.0, 356.0), (432.0, 356.0), (356.0, 432.0), (400.0, 333.0))
_TEXTS = ("PA", "AP", "10", "0941", "JB", "WB", "22.5", "FLEX", "16", "7", "KV 60", "3", "MK", "T-20", "5", "A", "Q")


@dataclass(frozen=True)
class FilmOptions:
    """What a film is like.

    Attributes:
        size_mm: Width and height.
        mm_per_px: Pixel size.
        marker: "right" (both or one side marker, on the proper side), "missing", "swapped", or "mirrored": the
            whole film is flipped left to right.
        max_turn_deg: Largest turn of a leg.
        max_shift_mm: Largest shift of the pair of knees from the middle of the film.
        texts: Largest number of other texts.
    """

    size_mm: tuple[float, float] = SIZES_MM[0]
    mm_per_px: float = 0.2
    marker: str = "right"
    max_turn_deg: float = 15.0
    max_shift_mm: float = 60.0
    texts: int = 3


@dataclass(frozen=True)
class KneeOnFilm:
    """The truth about a knee.

    Attributes:
        side: "L" or "R".
        middle_mm: Middle of the tibial plateau, (x, y) mm from the film's upper left corner.
        angle_deg: Angle of the plateau; positive where it descends to the right of the film.
        kl: KL grade, where it is known.
    """

    side: str
    middle_mm: tuple[float, float]
    angle_deg: float
    kl: int | None


@dataclass(frozen=True)
class Film:
    """A film and the truth about it.

    Attributes:
        grey: float32 [H, W], 0 to 1, bone bright.
        mm_per_px: Pixel size.
        knees: The knees, from left to right on the film.
        markers: Letter, (x, y) in mm and height in mm of each side marker.
    """

    grey: Grey
    mm_per_px: float
    knees: tuple[KneeOnFilm, ...]
    markers: tuple[tuple[str, tuple[float, float], float], ...]


def draw_film(patient: int, seed: int, options: FilmOptions, *, sides: str = "RL", replaced: str = "") -> Film:
    """The film of one synthetic patient; it depends on the arguments alone.

    Args:
        patient: Number of the patient, 0 or more.
        seed: Seed of the cohort.
        options: What the film is like.
        sides: Which knees are on it.
        replaced: Which of them are replaced.
    """
    rng = np.random.default_rng((seed, patient + 1, 7))
    legs = [draw_leg(patient, side, seed, replaced=side in replaced) for side in sides]
    return compose_film(legs, scatter_poses(len(legs), options, rng), options, rng)


def scatter_poses(n: int, options: FilmOptions, rng: np.random.Generator) -> list[Pose]:
    """Random poses of one or two knees, from left to right, that keep each joint on the film."""
    width, height = options.size_mm
    apart = rng.uniform(125, min(205, width - 150))
    tilt = rng.uniform(-0.5, 0.5) * options.max_turn_deg
    shift = rng.uniform(-1, 1, 2) * options.max_shift_mm
    y_apart = rng.uniform(-12, 12)
    poses = []
    for k in range(n):
        out = apart * (k - (n - 1) / 2) if n > 1 else rng.choice((-1, 1)) * apart / 2
        x = np.clip(width / 2 + shift[0] + out, 58, width - 58)
        y = np.clip(height / 2 + shift[1] + y_apart * (k - 0.5), 80, height - 80)
        turn = float(np.clip(tilt + rng.uniform(-0.6, 0.6) * options.max_turn_deg, *_limits(options)))
        poses.append(Pose((float(x), float(y)), turn))
    if n > 1 and poses[1].middle_mm[0] - poses[0].middle_mm[0] < 115:
        first = poses[0].middle_mm[0] if shift[0] < 0 else poses[1].middle_mm[0] - apart
        poses = [Pose((first + k * apart, pose.middle_mm[1]), pose.turn_deg) for k, pose in enumerate(poses)]
    return poses


def compose_film(legs: Sequence[Leg], poses: Sequence[Pose], options: FilmOptions, rng: np.random.Generator) -> Film:
    """Put legs on a film.

    Args:
        legs: From left to right on the film; a patient's right knee is on the left.
        poses: Where each lies.
        options: What the film is like.
        rng: Source of everything else.
    """
    width, height = options.size_mm
    scale = options.mm_per_px
    shape = (round(height / scale), round(width / scale))
    film = np.zeros(shape, np.float32)
    for leg, pose in zip(legs, poses, strict=True):
        placed = place_leg(leg, pose, shape, scale)
        film = np.maximum(film, placed) + np.float32(0.25) * np.minimum(film, placed)
    film += np.float32(rng.uniform(0, 0.05))
    exposure = np.float32(rng.uniform(0.75, 1.35))
    film = np.clip(film, 0, 1) ** exposure
    truth = [_truth(leg, pose) for leg, pose in zip(legs, poses, strict=True)]
    white = float(rng.uniform(0.75, 1.0))
    # Markers lie within the field that was exposed; the other texts are the system's and lie anywhere.
    _collimate(film, scale, rng)
    placed_markers = _mark(film, truth, options, white, rng)
    _write(film, options, white, rng)
    film += np.float32(rng.uniform(0.003, 0.012)) * rng.standard_normal(shape, dtype=np.float32)
    film = np.clip(film, 0, 1)
    if options.marker == "mirrored":
        film = np.ascontiguousarray(film[:, ::-1])
        truth = [
            KneeOnFilm(k.side, (width - k.middle_mm[0], k.middle_mm[1]), -k.angle_deg, k.kl) for k in reversed(truth)
        ]
        placed_markers = [("mirrored", (width - x, y), size) for _, (x, y), size in placed_markers]
    return Film(film, scale, tuple(truth), tuple(placed_markers))


def _limits(options: FilmOptions) -> tuple[float, float]:
    # The plateau itself leans by a few degrees in the leg's picture; the sum stays near the limit.
    return -options.max_turn_deg, options.max_turn_deg


def _truth(leg: Leg, pose: Pose) -> KneeOnFilm:
    return KneeOnFilm(leg.side, pose.middle_mm, leg.angle_deg + pose.turn_deg, leg.kl)


def _mark(
    film: Grey, knees: Sequence[KneeOnFilm], options: FilmOptions, white: float, rng: np.random.Generator
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
        x = knee.middle_mm[0] + out * rng.uniform(52, 85)
        y = knee.middle_mm[1] + rng.uniform(-85, 85)
        x = float(np.clip(x, 32, options.size_mm[0] - 32))
        y = float(np.clip(y, 32, options.size_mm[1] - 32))
        if abs(x - knee.middle_mm[0]) < 50:
            # No room beside the joint: above or below it.
            y = knee.middle_mm[1] + float(rng.choice((-1, 1))) * rng.uniform(48, 70)
        mask = letter_mask(letter, height, options.mm_per_px, rng.uniform(-18, 18), style, frame=frame)
        stamp(film, mask, (x / options.mm_per_px, y / options.mm_per_px), white)
        placed.append((letter, (x, y), float(height)))
    return placed


def _write(film: Grey, options: FilmOptions, white: float, rng: np.random.Generator) -> None:
    """Other texts near the film's edges, in place."""
    for _ in range(int(rng.integers(options.texts + 1))):
        text = _TEXTS[int(rng.integers(len(_TEXTS)))]
        x = float(rng.uniform(20, options.size_mm[0] - 20))
        y = float(rng.choice((rng.uniform(10, 26), options.size_mm[1] - rng.uniform(10, 26))))
        mask = letter_mask(text, rng.uniform(4, 11), options.mm_per_px, rng.uniform(-8, 8), int(rng.integers(100)))
        stamp(film, mask, (x / options.mm_per_px, y / options.mm_per_px), white)


def _collimate(film: Grey, mm_per_px: float, rng: np.random.Generator) -> None:
    """Borders beyond the collimator: black where the system blackens them, bright where nothing was exposed."""
    if rng.random() < 0.35:
        return
    tone = np.float32(rng.choice((0.0, rng.uniform(0.5, 0.95))))
    height, width = film.shape
    mask = np.full(film.shape, 255, np.uint8)
    depth = rng.uniform(0, 16, 4) / mm_per_px
    lean = rng.uniform(-4, 4, 4) / mm_per_px
    corners = np.array([
        (depth[0] + lean[0], depth[1] + lean[1]), (width - depth[2] + lean[2], depth[1] - lean[1]),
        (width - depth[2] - lean[2], height - depth[3] + lean[3]), (depth[0] - lean[0], height - depth[3] - lean[3]),
    ])  # fmt: skip
    cv2.fillConvexPoly(mask, np.round(corners).astype(np.int32), 0, cv2.LINE_AA)
    film += (tone - film) * (mask.astype(np.float32) * np.float32(1 / 255))
