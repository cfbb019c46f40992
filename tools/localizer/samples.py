"""Training samples of the localizer: radiographs composed at random, and the windows that its networks see of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from tools.radiographs.legs import extend_leg, harden, implant, rejuvenate, resize_leg
from tools.radiographs.others import OTHERS, SHARES, draw_other
from tools.radiographs.overlays import METAL

#: Coarse pictures are kept on a square canvas of this side.
CANVAS_PX = 168
_RADIOGRAPH_MM = 0.6
#: Where the plateau of a real picture is taken to be before it was found: mm from the picture's center.
PROVISIONAL = np.array([(-38.0, 10.0), (38.0, 10.0)])
REAL_WIDTH_MM = 101.0
#: How often each kind of radiograph comes, rulers (none, thin, broad), balls, sharpening, real knees, sclerosis,
#: growth plates and metal in a knee, shafts, and windows turned away.
_RADIOGRAPHS = {"pair": 0.52, "single": 0.18, "other": 0.3}
_RULERS, _BALLS, _SHARP = (0.75, 0.1, 0.15), 0.1, 0.5
_REAL, _SCLEROSIS, _YOUNG, _METAL, _SHAFTS, _TURNED = 0.6, 0.3, 0.15, 0.1, 0.8, 0.15
_METAL_SHARES = (0.5, 0.24, 0.1, 0.06, 0.08, 0.02)  # in the order of METAL
#: Mean and standard deviation of the logarithm of a knee's size and of the exponent of the gray, and their limits.
_SIZE, _SIZE_LIMITS = (-0.07, 0.13), (0.68, 1.15)
_TONE, _TONE_LIMITS = (0.2, 0.5), (0.5, 3.2)
#: Folders of pictures with KL grades 3 and 4: half of the real knees come from them.
_WORN = ("3", "4")
#: Letters and texts stamped onto each radiograph, besides those that it has.
N_LETTERS = 8


@dataclass
class Samples:
    """Lists of samples; see `collect`."""

    coarse: list[NDArray[np.uint8]] = field(default_factory=list)
    knees: list[NDArray[np.float32]] = field(default_factory=list)
    markers: list[NDArray[np.float32]] = field(default_factory=list)
    fine: list[NDArray[np.uint8]] = field(default_factory=list)
    points: list[NDArray[np.float32]] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    letters: list[NDArray[np.uint8]] = field(default_factory=list)
    letter_kinds: list[int] = field(default_factory=list)


def real_pictures(folder: Path) -> list[Path]:
    """Pictures of single knees below a folder, in a fixed order, sides in their names."""
    return sorted(path for path in folder.rglob("*.png") if path.stem[-1:] in "LR")


def collect(
    n_radiographs: int, seed: int, pictures: Sequence[MarkedPicture] = (), *, n_legs: int | None = None
) -> dict[str, NDArray[np.generic]]:
    """Compose radiographs and cut the samples out of them.

    Args:
        n_radiographs: How many radiographs.
        seed: Seed of everything; the synthetic patients are those of this seed as well.
        pictures: Real knees to compose radiographs with, and their plateaus; may be empty.
        n_legs: Synthetic legs drawn beforehand, which the radiographs combine; 300, but not more than 4 a radiograph.

    Returns:
        Arrays by the names of `Samples`: coarse uint8 [N, 168, 168] at 2.67 mm a pixel; knees and markers float32
        [N, 2 or 4, 2] in its pixels, NaN where there are fewer; fine uint8 [M, 96, 96] with points float32
        [M, 2, 2] in mm from the window's center (NaN where there is no plateau to learn) and kinds; letters uint8
        [K, 48, 48] and their kinds.
    """
    rng = np.random.default_rng((seed, 11))
    n_legs = n_legs or min(300, 4 * n_radiographs)
    synthetic = [draw_leg(k // 2, "RL"[k % 2], seed) for k in range(n_legs)]
    worn = [picture for picture in pictures if picture.path.parent.name in _WORN]
    samples = Samples()
    for _ in range(n_radiographs):
        kind = str(rng.choice(list(_RADIOGRAPHS), p=list(_RADIOGRAPHS.values())))
        options = RadiographOptions(
            size_mm=_size(kind, rng),
            mm_per_px=_RADIOGRAPH_MM,
            marker=str(rng.choice(("right", "right", "swapped", "mirrored", "missing"))),
            max_rotation_deg=18.0,
            texts=4,
            max_bend_deg=15.0,
            ruler=str(rng.choice(("", "thin", "broad"), p=_RULERS)),
            ball=bool(rng.random() < _BALLS),
        )
        if kind == "other":
            _add_other(samples, options, rng)
            continue
        legs, metal = [], []
        factor = draw_size(rng)
        real = bool(pictures) and rng.random() < _REAL
        for side in "RL" if kind == "pair" else rng.choice(("R", "L")):
            if real:
                some = worn if worn and rng.random() < 0.5 else pictures
                leg = some[int(rng.integers(len(some)))].leg(side)
            else:
                leg = synthetic[int(rng.integers(n_legs // 2)) * 2 + (side == "L")]
            if rng.random() < _SHAFTS:
                leg = extend_leg(leg, rng)
            if rng.random() < _SCLEROSIS:
                leg = harden(leg, rng)
            elif rng.random() < _YOUNG:
                leg = rejuvenate(leg, rng)
            metal.append(bool(rng.random() < _METAL))
            if metal[-1]:
                leg = implant(leg, rng, str(rng.choice(list(METAL), p=_METAL_SHARES)))
            legs.append(resize_leg(leg, factor * float(rng.uniform(0.97, 1.03))))
        poses = scatter_poses(2, options, rng) if kind == "pair" else [single_pose(options, rng)]
        radiograph = compose_radiograph(legs, poses, options, rng)
        if options.marker == "mirrored":
            width = options.size_mm[0]
            poses = [Pose((width - p.center_mm[0], p.center_mm[1]), -p.rotation_deg) for p in poses[::-1]]
            legs, metal = legs[::-1], metal[::-1]
        _add(samples, radiograph, legs, poses, metal, options.marker == "mirrored", rng)
    return {
        name: np.array(values, dtype=_TYPES.get(name)) if values else np.zeros(_EMPTY[name], _TYPES.get(name))
        for name, values in vars(samples).items()
    }


_TYPES = {"coarse": np.uint8, "fine": np.uint8, "letters": np.uint8, "knees": np.float32, "markers": np.float32,
          "points": np.float32}  # fmt: skip
_EMPTY = dict.fromkeys(vars(Samples()), (0,))


@dataclass(frozen=True)
class MarkedPicture:
    """A real picture of a knee, as it lies in its file, and its plateau."""

    path: Path  #: Its name ends in L or R.
    plateau: NDArray[np.float64]  #: See `Leg.plateau`.

    def leg(self, side: str) -> Leg:
        """The knee as one of this side."""
        plateau = self.plateau if self.path.stem[-1] == side else (self.plateau * (-1, 1))[::-1]
        return replace(read_leg(self.path, side), plateau=plateau)


def _size(kind: str, rng: np.random.Generator) -> tuple[float, float]:
    """Width and height of a radiograph in mm."""
    if kind == "single":
        return float(rng.uniform(140, 300)), float(rng.uniform(180, 400))
    if rng.random() < 0.5:
        return SIZES_MM[int(rng.integers(len(SIZES_MM)))]
    return float(rng.uniform(300, 440)), float(rng.uniform(190, 440))


def draw_size(rng: np.random.Generator) -> float:
    """How many times as large as it was a knee is shown."""
    return float(np.exp(rng.normal(*_SIZE)).clip(*_SIZE_LIMITS))


def draw_tones(rng: np.random.Generator) -> NDArray[np.uint8]:
    """What each of 256 levels of gray becomes: a power of it."""
    power = float(np.exp(rng.normal(*_TONE)).clip(*_TONE_LIMITS))
    return np.rint(255 * (np.arange(256) / 255) ** power).astype(np.uint8)


def single_pose(options: RadiographOptions, rng: np.random.Generator) -> Pose:
    """Where the leg of a radiograph of one knee lies."""
    width, height = options.size_mm
    x = float(np.clip(width / 2 + rng.normal(0, 20), 55, width - 55))
    y = float(np.clip(height / 2 + rng.normal(0, 30), 70, height - 70))
    turn = float(np.clip(rng.normal(0, 7), -options.max_rotation_deg, options.max_rotation_deg))
    return Pose((x, y), turn, float(rng.uniform(-1, 1)) * options.max_bend_deg)


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
    metal: list[bool],
    mirrored: bool,
    rng: np.random.Generator,
) -> None:
    gray, half, half_mm = _add_whole(samples, radiograph, rng)
    for k, knee in enumerate(radiograph.knees):
        for _ in range(2):
            away = rng.normal(0, 7, 2).clip(-20, 20)
            center = (knee.center_mm[0] + away[0], knee.center_mm[1] + away[1])
            angle = float(rng.uniform(-20, 20)) if rng.random() < 0.6 else knee.angle_deg + float(rng.normal(0, 2))
            window = cut_window(half, half_mm, center, angle, FINE_PX, FINE_MM)
            points = to_radiograph(_ends(legs[k], poses[k], mirrored) - center, (0.0, 0.0), -angle)
            _add_fine(samples, window, REPLACED if metal[k] else NATURAL, None if metal[k] else points)
            if rng.random() < _TURNED:
                # Upside down or lying, a knee is none that could be cut out.
                _add_fine(samples, window[::-1] if rng.random() < 0.7 else np.rot90(window), NO_KNEE)
    for _ in range(2):
        nowhere = _away_from_knees(radiograph, rng)
        if nowhere is not None:
            turn = float(rng.uniform(-20, 20))
            _add_fine(samples, cut_window(half, half_mm, nowhere, turn, FINE_PX, FINE_MM), NO_KNEE)
    spacing = (radiograph.mm_per_px, radiograph.mm_per_px)
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


def _add_other(samples: Samples, options: RadiographOptions, rng: np.random.Generator) -> None:
    """A radiograph of something else: nothing for the coarse network to find, and what the fine one must refuse."""
    radiograph, spots = draw_other(str(rng.choice(list(OTHERS), p=SHARES)), options, rng)
    _, half, half_mm = _add_whole(samples, radiograph, rng)
    height, width = (n * radiograph.mm_per_px for n in radiograph.gray.shape)
    chosen = [spots[int(rng.integers(len(spots)))] for _ in range(3) if spots]
    chosen += [(float(rng.uniform(10, width - 10)), float(rng.uniform(10, height - 10)))] * 2
    for x, y in chosen:
        spot, turn = (x + float(rng.normal(0, 8)), y + float(rng.normal(0, 8))), float(rng.uniform(-20, 20))
        _add_fine(samples, cut_window(half, half_mm, spot, turn, FINE_PX, FINE_MM), NO_KNEE)


def _add_whole(
    samples: Samples, radiograph: SyntheticRadiograph, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[float, float]]:
    """The whole radiograph for the coarse network; returns it as it is read, and at the fine network's scale."""
    tones = draw_tones(rng)
    seen = _sharpen(radiograph, rng) if rng.random() < _SHARP else radiograph.gray
    gray = tones[scale_intensities(seen)]
    spacing = (radiograph.mm_per_px, radiograph.mm_per_px)
    small, small_mm = shrink(gray, spacing, COARSE_MM)
    canvas = np.zeros((CANVAS_PX, CANVAS_PX), np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small[:CANVAS_PX, :CANVAS_PX]
    samples.coarse.append(canvas)
    samples.knees.append(_padded([k.center_mm for k in radiograph.knees], 2) / small_mm[0])
    samples.markers.append(_padded([place for _, place, _ in radiograph.markers], 4) / small_mm[0])
    return gray, *shrink(gray, spacing, FINE_MM * 0.8)


def _sharpen(radiograph: SyntheticRadiograph, rng: np.random.Generator) -> NDArray[np.float32]:
    """Edges and details brought out, as the software of radiography systems does."""
    blurred = cv2.GaussianBlur(radiograph.gray, (0, 0), float(rng.uniform(1.5, 12)) / radiograph.mm_per_px)
    share = np.float32(rng.uniform(0.3, 2.5))
    return np.asarray(np.clip(radiograph.gray + share * (radiograph.gray - blurred), 0, 1), np.float32)


def _add_fine(
    samples: Samples, window: NDArray[np.uint8], kind: int, points: NDArray[np.float64] | None = None
) -> None:
    samples.fine.append(np.ascontiguousarray(window))
    samples.kinds.append(kind)
    samples.points.append(np.full((2, 2), np.nan, np.float32) if points is None else points.astype(np.float32))


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
