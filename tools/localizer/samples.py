"""Training samples of the localizer: radiographs composed at random, and the windows that its networks see of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kneeal.data.patches import scale_intensities
from kneeal.localizer.networks import (
    COARSE_MM,
    FINE_MM,
    FINE_PX,
    MARKER_CLASSES,
    MARKER_MM,
    MARKER_PX,
    NATURAL,
    NO_KNEE,
    REPLACED,
)
from kneeal.localizer.windows import cut_window, shrink, to_radiograph
from tools.localizer.letter_samples import SEEN, letter_windows
from tools.radiographs import (
    Leg,
    Pose,
    RadiographOptions,
    SyntheticRadiograph,
    compose_radiograph,
    draw_leg,
    picture_leg,
    scatter_poses,
)
from tools.radiographs.bilateral import SIZES_MM

#: Coarse pictures are kept on a square canvas of this side.
CANVAS_PX = 168
_RADIOGRAPH_MM = 0.6
#: Where the plateau of a real picture is taken to be before it was found: mm from the picture's center.
PROVISIONAL = np.array([(-38.0, 10.0), (38.0, 10.0)])
REAL_WIDTH_MM = 101.0
#: Letters and texts stamped onto each radiograph, besides those that it has.
N_LETTERS = 8


@dataclass
class Samples:
    """Lists of samples; see the fields of `collect`."""

    coarse: list[NDArray[np.uint8]] = field(default_factory=list)
    knees: list[NDArray[np.float32]] = field(default_factory=list)
    markers: list[NDArray[np.float32]] = field(default_factory=list)
    fine: list[NDArray[np.uint8]] = field(default_factory=list)
    points: list[NDArray[np.float32]] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)
    frames: list[NDArray[np.float32]] = field(default_factory=list)
    letters: list[NDArray[np.uint8]] = field(default_factory=list)
    letter_kinds: list[int] = field(default_factory=list)


def real_pictures(folder: Path) -> list[Path]:
    """Pictures of single knees below a folder, in a fixed order, sides in their names."""
    return sorted(path for path in folder.rglob("*.png") if path.stem[-1:] in "LR")


def collect(
    n_radiographs: int, seed: int, pictures: list[Path], *, n_legs: int | None = None, real_share: float = 0.45
) -> dict[str, NDArray[np.generic]]:
    """Compose radiographs and cut the samples out of them.

    Args:
        n_radiographs: How many radiographs.
        seed: Seed of everything; the synthetic patients are those of this seed as well.
        pictures: Real knees to compose radiographs with; may be empty.
        n_legs: Synthetic legs drawn beforehand, which the radiographs combine; 300, but not more than 4 a radiograph.
        real_share: Share of radiographs with real knees, where there are pictures.

    Returns:
        Arrays by the names of `Samples`: coarse uint8 [N, 168, 168] at 2.67 mm a pixel; knees and markers float32
        [N, 2 or 4, 2] in its pixels, NaN where there are fewer; fine uint8 [M, 96, 96] with points float32
        [M, 2, 2] in mm from the window's center (NaN where there is no plateau to learn), kinds, the number of
        the real picture (-1: synthetic) and its frame (turn of the picture in the window, position of the
        provisional center); letters uint8 [K, 48, 48] and their kinds.
    """
    rng = np.random.default_rng((seed, 11))
    n_legs = n_legs or min(300, 4 * n_radiographs)
    synthetic = [draw_leg(k // 2, "RL"[k % 2], seed, replaced=k % 9 == 0) for k in range(n_legs)]
    samples = Samples()
    for _ in range(n_radiographs):
        real = bool(pictures) and rng.random() < real_share
        n = 1 if rng.random() < 0.05 else 2
        legs, numbers, replaced = [], [], []
        for side in "RL" if n == 2 else rng.choice(("R", "L")):
            if real:
                number = int(rng.integers(len(pictures)))
                legs.append(read_leg(pictures[number], side))
                numbers.append(number)
                replaced.append(False)
            else:
                k = int(rng.integers(n_legs // 2)) * 2 + (side == "L")
                legs.append(synthetic[k])
                numbers.append(-1)
                replaced.append(k % 9 == 0)
        options = RadiographOptions(
            size_mm=SIZES_MM[int(rng.integers(len(SIZES_MM)))],
            mm_per_px=_RADIOGRAPH_MM,
            marker=str(rng.choice(("right", "right", "swapped", "mirrored", "missing"))),
            max_rotation_deg=18.0,
            texts=4,
        )
        poses = scatter_poses(n, options, rng)
        radiograph = compose_radiograph(legs, poses, options, rng)
        order = range(n)
        if options.marker == "mirrored":
            order = range(n - 1, -1, -1)
            poses = [Pose((options.size_mm[0] - p.center_mm[0], p.center_mm[1]), -p.rotation_deg) for p in poses]
        _add(samples, radiograph, [legs[k] for k in order], [poses[k] for k in order], [numbers[k] for k in order],
             [replaced[k] for k in order], options.marker == "mirrored", rng)  # fmt: skip
    return {
        name: np.array(values, dtype=_TYPES.get(name)) if values else np.zeros(_EMPTY[name], _TYPES.get(name))
        for name, values in vars(samples).items()
    }


_TYPES = {"coarse": np.uint8, "fine": np.uint8, "letters": np.uint8, "knees": np.float32, "markers": np.float32,
          "points": np.float32, "frames": np.float32}  # fmt: skip
_EMPTY = dict.fromkeys(vars(Samples()), (0,))


def read_leg(path: Path, side: str) -> Leg:
    """A leg from a real picture, mirrored where it is of the other side; its plateau is provisional."""
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise ValueError(f"{path} cannot be read.")
    if path.stem[-1] != side:
        picture = np.ascontiguousarray(picture[:, ::-1])
    return picture_leg(np.asarray(picture, np.uint8), REAL_WIDTH_MM, side, PROVISIONAL)


def _add(
    samples: Samples,
    radiograph: SyntheticRadiograph,
    legs: list[Leg],
    poses: list[Pose],
    numbers: list[int],
    replaced: list[bool],
    mirrored: bool,
    rng: np.random.Generator,
) -> None:
    gray = scale_intensities(radiograph.gray)
    spacing = (radiograph.mm_per_px, radiograph.mm_per_px)
    small, small_mm = shrink(gray, spacing, COARSE_MM)
    canvas = np.zeros((CANVAS_PX, CANVAS_PX), np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small[:CANVAS_PX, :CANVAS_PX]
    samples.coarse.append(canvas)
    samples.knees.append(_padded([k.center_mm for k in radiograph.knees], 2) / small_mm[0])
    samples.markers.append(_padded([place for _, place, _ in radiograph.markers], 4) / small_mm[0])
    half, half_mm = shrink(gray, spacing, FINE_MM * 0.8)
    for k, knee in enumerate(radiograph.knees):
        for _ in range(2):
            away = rng.normal(0, 7, 2).clip(-20, 20)
            center = (knee.center_mm[0] + away[0], knee.center_mm[1] + away[1])
            angle = float(rng.uniform(-20, 20)) if rng.random() < 0.6 else knee.angle_deg + float(rng.normal(0, 2))
            samples.fine.append(cut_window(half, half_mm, center, angle, FINE_PX, FINE_MM))
            ends = _ends(legs[k], poses[k], mirrored)
            usable = numbers[k] < 0 and not replaced[k]
            points = to_radiograph(ends - center, (0.0, 0.0), -angle)
            samples.points.append(points.astype(np.float32) if usable else np.full((2, 2), np.nan, np.float32))
            samples.kinds.append(REPLACED if replaced[k] else NATURAL)
            # A mirrored radiograph shows the real picture mirrored, which its own plateau does not describe.
            samples.pictures.append(-1 if mirrored else numbers[k])
            place = to_radiograph(np.subtract(poses[k].center_mm, center), (0.0, 0.0), -angle)
            samples.frames.append(np.array([poses[k].rotation_deg - angle, *place], np.float32))
    nowhere = _away_from_knees(radiograph, rng)
    if nowhere is not None:
        samples.fine.append(cut_window(half, half_mm, nowhere, float(rng.uniform(-20, 20)), FINE_PX, FINE_MM))
        samples.points.append(np.full((2, 2), np.nan, np.float32))
        samples.kinds.append(NO_KNEE)
        samples.pictures.append(-1)
        samples.frames.append(np.zeros(3, np.float32))
    for letter, at, _ in radiograph.markers:
        for _ in range(2):
            away = rng.uniform(-3.5, 3.5, 2)
            spot = (at[0] + away[0], at[1] + away[1])
            window = cut_window(gray, spacing, spot, 0.0, MARKER_PX, MARKER_MM)
            inner = window[12:-12, 12:-12]
            if inner.max() - np.median(inner) >= SEEN:
                samples.letters.append(window)
                samples.letter_kinds.append(MARKER_CLASSES.index(letter))
    windows, letters = letter_windows(radiograph, N_LETTERS, rng)
    samples.letters += windows
    samples.letter_kinds += letters
    for _ in range(2):
        spot = _away_from_markers(radiograph, rng)
        samples.letters.append(cut_window(gray, spacing, spot, 0.0, MARKER_PX, MARKER_MM))
        samples.letter_kinds.append(MARKER_CLASSES.index(""))


def _ends(leg: Leg, pose: Pose, mirrored: bool) -> NDArray[np.float64]:
    plateau = leg.plateau - leg.center
    if mirrored:
        plateau = (plateau * (-1.0, 1.0))[::-1]
    turn = np.deg2rad(pose.rotation_deg)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.asarray(plateau @ matrix + np.asarray(pose.center_mm), np.float64)


def _away_from_knees(radiograph: SyntheticRadiograph, rng: np.random.Generator) -> tuple[float, float] | None:
    height, width = (n * radiograph.mm_per_px for n in radiograph.gray.shape)
    for _ in range(20):
        spot = (float(rng.uniform(10, width - 10)), float(rng.uniform(10, height - 10)))
        if all(np.hypot(spot[0] - k.center_mm[0], spot[1] - k.center_mm[1]) > 45 for k in radiograph.knees):
            return spot
    return None


def _away_from_markers(radiograph: SyntheticRadiograph, rng: np.random.Generator) -> tuple[float, float]:
    """A spot without a side marker, often at the edge of the radiograph, where other texts are."""
    height, width = (n * radiograph.mm_per_px for n in radiograph.gray.shape)
    for _ in range(20):
        y = rng.uniform(6, height - 6) if rng.random() < 0.5 else rng.choice((18, height - 18)) + rng.normal(0, 5)
        spot = (float(rng.uniform(8, width - 8)), float(y))
        if all(np.hypot(spot[0] - p[0], spot[1] - p[1]) > 0.8 * size + 14 for _, p, size in radiograph.markers):
            return spot
    return (0.0, 0.0)


def _padded(points: list[tuple[float, float]], n: int) -> NDArray[np.float32]:
    out = np.full((n, 2), np.nan, np.float32)
    out[: len(points)] = np.array(points, np.float32).reshape(-1, 2)[:n]
    return out
