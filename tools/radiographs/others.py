"""Radiographs without a knee to grade: other joints, other views of the knee, trunks, and bones of no kind.

They are no anatomy: they teach the localizer that bones, joint spaces and round ends alone make no frontal knee.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.radiographs.bilateral import RadiographOptions, SyntheticRadiograph, expose

Gray = NDArray[np.float32]
Point = tuple[float, float]


class Sheet:
    """A radiograph that bones are drawn on, in mm; `spots` are where they meet."""

    def __init__(self, size_mm: tuple[float, float], mm_per_px: float, rng: np.random.Generator) -> None:
        self.rng, self.width, self.height = rng, *size_mm
        self.mm_per_px = mm_per_px
        self.shape = (round(size_mm[1] / mm_per_px), round(size_mm[0] / mm_per_px))
        self.gray = np.zeros(self.shape, np.float32)
        self.spots: list[Point] = []

    def bone(self, points: Sequence[Point], radii: Sequence[float], bright: float | None = None) -> None:
        """A bone along points whose radius changes from one to the next, with a bright cortex."""
        bright = bright or float(self.rng.uniform(0.25, 0.5))
        outer = self.tube(points, radii)
        inner = self.tube(points, radii, float(self.rng.uniform(0.8, 4)))
        self.gray += bright * outer - bright * float(self.rng.uniform(0.15, 0.5)) * inner

    def flesh(self, points: Sequence[Point], radii: Sequence[float]) -> None:
        """Soft tissue along points."""
        blurred = cv2.GaussianBlur(self.tube(points, radii), (0, 0), 4 / self.mm_per_px)
        self.gray = np.maximum(self.gray, np.float32(self.rng.uniform(0.15, 0.45)) * np.asarray(blurred, np.float32))

    def joint(self, at: Point, angle_deg: float, half: float, gap: float) -> None:
        """A dark joint space with bright borders across a bone."""
        turn = np.deg2rad(angle_deg)
        along, down = np.array((np.cos(turn), np.sin(turn))), np.array((-np.sin(turn), np.cos(turn)))
        bow = self.rng.uniform(-4, 4)
        s = np.linspace(-1, 1, 15)[:, None]
        middle = np.array(at) + s * half * along + (1 - s**2) * bow * down
        for offset, tone, thick in ((-gap, 0.15, 1.2), (gap, 0.15, 1.2), (0.0, -0.25, gap)):
            mask = np.zeros(self.shape, np.uint8)
            px = max(1, round(thick / self.mm_per_px))
            cv2.polylines(mask, [self._fixed(middle + offset * down)], False, 255, px, cv2.LINE_AA, 4)
            self.gray += np.float32(tone / 255) * mask
        self.spots.append(at)

    def finish(self) -> Gray:
        """What was drawn, with the texture of bone."""
        blur = float(self.rng.uniform(0.5, 1.2)) / self.mm_per_px
        gray = np.asarray(cv2.GaussianBlur(np.maximum(self.gray, 0), (0, 0), blur), np.float32)
        # Bones over bones do not become as white as metal.
        gray *= np.float32(min(1.0, self.rng.uniform(0.7, 1.0) / max(float(np.percentile(gray, 99.8)), 1e-6)))
        texture = self.rng.standard_normal(self.shape, dtype=np.float32)
        texture = np.asarray(cv2.GaussianBlur(texture, (0, 0), 1.0 / self.mm_per_px), np.float32)
        texture *= np.float32(self.rng.uniform(0.0, 0.05)) / max(float(texture.std()), 1e-6)
        return np.asarray(np.clip(gray * (1 + texture), 0, 1), np.float32)

    def _fixed(self, points: NDArray[np.float64]) -> NDArray[np.int32]:
        return np.round(points / self.mm_per_px * 16).astype(np.int32)

    def tube(self, points: Sequence[Point], radii: Sequence[float], inset: float = 0.0) -> Gray:
        """Where a tube with these radii lies, 0 to 1, its wall moved inwards by `inset`."""
        mask = np.zeros(self.shape, np.uint8)
        knots = np.linspace(0, 1, len(points))
        fine = np.linspace(0, 1, 60)
        x, y = (np.interp(fine, knots, [p[k] for p in points]) for k in (0, 1))
        r = np.interp(fine, knots, radii) - inset
        for cx, cy, radius in zip(x, y, r, strict=True):
            if radius > 0:
                center = self._fixed(np.array((cx, cy)))
                cv2.circle(mask, (int(center[0]), int(center[1])), round(radius / self.mm_per_px * 16), 255, -1, 8, 4)
        return mask.astype(np.float32) * np.float32(1 / 255)


def _ankle(sheet: Sheet, x: float, flip: int) -> None:
    rng, y = sheet.rng, sheet.height * sheet.rng.uniform(0.4, 0.75)
    lean = rng.uniform(-25, 25)
    sheet.flesh([(x + lean, 0), (x, y), (x, sheet.height)], [rng.uniform(42, 58), rng.uniform(32, 40), 48])
    half = rng.uniform(19, 27)
    sheet.bone([(x + lean, -10), (x, y - 45), (x, y - half)], [13, 14, half])
    out = x + flip * half * 1.15
    sheet.bone([(out + lean, -10), (out, y - 40), (out, y + rng.uniform(0, 12))], [6, 7, 11])
    sheet.bone([(x, y + half), (x + rng.uniform(-6, 6), y + half + 22)], [half * 0.85, half * 0.9])
    sheet.joint((x, y), rng.uniform(-8, 8), half * 0.95, rng.uniform(1.5, 3))
    for ray in range(-2, 3):
        sheet.bone([(x + ray * 9, y + 60), (x + ray * 14 + rng.uniform(-10, 10), y + 130)], [6, 4])


def _lateral_knee(sheet: Sheet, x: float, flip: int) -> None:
    rng, y = sheet.rng, sheet.height * sheet.rng.uniform(0.35, 0.65)
    bend = np.deg2rad(rng.uniform(0, 95) if rng.random() < 0.6 else rng.uniform(0, 25))
    thigh, calf = (-np.sin(bend / 2), -np.cos(bend / 2)), (-np.sin(bend / 2), np.cos(bend / 2))
    size = rng.uniform(0.75, 1.15)
    turn = rng.choice((-1, 1)) * rng.uniform(0, 0.25)

    def at(along: tuple[float, float], far: float, aside: float = 0.0) -> Point:
        return (x + flip * (far * along[0] + aside + turn * far), y + far * along[1])

    sheet.flesh([at(thigh, 250), at(thigh, 0), at(calf, 250)], [75 * size, 58 * size, 50 * size])
    ball, wide, thin = (float(rng.uniform(*limits)) * size for limits in ((22, 31), (14, 19), (11, 15)))
    sheet.bone([at(thigh, 260), at(thigh, 75), at(thigh, ball + 8)], [thin, wide, ball * 0.95])
    back = rng.uniform(4, 16)
    for _ in range(2):  # both condyles, which do not quite cover each other
        shift = rng.uniform(-5, 5, 2)
        center = at(thigh, ball, -back)
        sheet.bone(
            [(center[0] + shift[0], center[1] + shift[1])] * 2,
            [ball * rng.uniform(0.8, 1.0)] * 2,
            rng.uniform(0.05, 0.2),
        )
    tibia = rng.uniform(22, 30) * size
    sheet.bone([at(calf, tibia * 0.7 + 2, 4), at(calf, 50, 2), at(calf, 80), at(calf, 260)],
               [tibia, wide, thin, thin * 0.9])  # fmt: skip
    sheet.bone([at(calf, 22, -20 * size), at(calf, 60, -17), at(calf, 260, -14)], [8, 5, 5])
    kneecap = at((0.0, -1.0), rng.uniform(12, 45), rng.uniform(33, 48) * size)
    sheet.bone([kneecap, (kneecap[0] + rng.uniform(-5, 5), kneecap[1] + 22 * size)], [9 * size, 8 * size])
    sheet.joint(at(calf, 1), rng.uniform(-18, 18), tibia * rng.uniform(0.7, 0.95), rng.uniform(1, 3))


def _skyline(sheet: Sheet, x: float, flip: int) -> None:
    rng, y = sheet.rng, sheet.height * sheet.rng.uniform(0.45, 0.8)
    sheet.flesh([(x, y - 10), (x, sheet.height + 60)], [60, 95])
    for side in (-1, 1):
        sheet.bone([(x + side * 21, y + 24), (x + side * 24, y + 90)], [22, 34])
    sheet.bone([(x - 14 + flip * 4, y - 14), (x + 16 + flip * 4, y - 14)], [7, 9])
    sheet.joint((x, y), rng.uniform(-10, 10), 36, rng.uniform(2, 4))


def _hip(sheet: Sheet, x: float, flip: int) -> None:
    rng, y = sheet.rng, sheet.height * sheet.rng.uniform(0.3, 0.6)
    sheet.flesh([(x - flip * 60, y - 120), (x, y), (x + flip * 20, sheet.height)], [120, 110, 85])
    head = rng.uniform(22, 29)
    sheet.bone([(x, y)] * 2, [head] * 2)
    sheet.bone([(x, y), (x + flip * 50, y + 42)], [head * 0.7, 24])
    sheet.bone([(x + flip * 55, y + 20), (x + flip * 45, y + 110), (x + flip * 30, sheet.height + 20)], [20, 17, 15])
    sheet.bone([(x - flip * 10, y - 45), (x - flip * 40, y - 140)], [30, 75])
    sheet.bone([(x - flip * 30, y + 30), (x - flip * 55, y + 75)], [14, 16])
    sheet.joint((x - flip * 6, y - head), flip * rng.uniform(-40, 10), head * 0.8, rng.uniform(1.5, 3))


def _hand(sheet: Sheet, x: float, flip: int) -> None:
    rng, y = sheet.rng, sheet.height * sheet.rng.uniform(0.5, 0.7)
    sheet.flesh([(x, y - 120), (x, y), (x, sheet.height)], [55, 42, 32])
    for ray in range(5):
        top, angle = y - 15, (ray - 2) * rng.uniform(0.1, 0.22) - flip * 0.05
        for length in (rng.uniform(45, 65), rng.uniform(30, 45), rng.uniform(18, 28), 15.0):
            foot = (x + (ray - 2) * 14 + (y - top) * angle, top)
            head = (x + (ray - 2) * 14 + (y - top + length) * angle, top - length)
            sheet.bone([foot, ((foot[0] + head[0]) / 2, (foot[1] + head[1]) / 2), head], [7, 4.5, 6.5])
            top -= length + 2
    for _ in range(8):
        sheet.bone([(x + rng.uniform(-28, 28), y + rng.uniform(-8, 22))] * 2, [rng.uniform(7, 11)] * 2)
    for side in (-1, 1):
        sheet.bone([(x + side * 15, y + 36), (x + side * 13, sheet.height + 10)], [rng.uniform(10, 16), 7])
    sheet.spots.append((x, y + 25))


def _foot(sheet: Sheet, x: float, flip: int) -> None:
    rng, y = sheet.rng, sheet.height * sheet.rng.uniform(0.2, 0.45)
    sheet.flesh([(x - flip * 15, y - 90), (x, y), (x, y + 80), (x, y + 170)], [40, 42, 50, 38])
    sheet.bone([(x + flip * 14, y - 90), (x + flip * 12, y - 22)], [rng.uniform(18, 24), 20])
    sheet.bone([(x - flip * 16, y - 60), (x - flip * 14, y - 20)], [rng.uniform(14, 22), 17])
    for row, half, n in ((0, 22, 2), (24, 15, 4)):
        for k in range(n):
            sheet.bone([(x + (k - (n - 1) / 2) * 2 * half * 0.75, y + row)] * 2, [half * rng.uniform(0.6, 0.9)] * 2)
        joint_y = y + row - half * 0.8
        sheet.joint((x + rng.uniform(-12, 12), joint_y), rng.uniform(-15, 15), rng.uniform(20, 36), rng.uniform(1, 2.5))
    for ray in range(5):
        top, wide = y + 38, 10 if ray == (0 if flip > 0 else 4) else 7
        for length in (rng.uniform(52, 68), rng.uniform(22, 30), rng.uniform(10, 16)):
            foot = (x + (ray - 2) * (13 + (top - y) * 0.04), top)
            toe = (x + (ray - 2) * (13 + (top + length - y) * 0.04), top + length)
            sheet.bone([foot, ((foot[0] + toe[0]) / 2, (foot[1] + toe[1]) / 2), toe], [wide, wide * 0.6, wide * 0.95])
            top += length + 2


def _elbow(sheet: Sheet, x: float, flip: int) -> None:
    rng, y = sheet.rng, sheet.height * sheet.rng.uniform(0.4, 0.6)
    sheet.flesh([(x, 0), (x, y), (x + flip * 40, sheet.height)], [50, 46, 38])
    half = rng.uniform(24, 32)
    sheet.bone([(x, -10), (x, y - 50), (x - half * 0.4, y - 14)], [12, 13, half * 0.6])
    sheet.bone([(x + half * 0.4, y - 14)] * 2, [half * 0.6] * 2)
    for side, radius in ((-1, 13), (1, 11)):
        low = x + side * half * 0.5
        sheet.bone([(low, y + 14), (low + side * 2 + flip * 10, y + 60), (low + flip * 40, sheet.height + 10)],
                   [radius, 8, 8])  # fmt: skip
    sheet.joint((x, y), rng.uniform(-12, 12), half, rng.uniform(1, 2.5))


def _trunk(sheet: Sheet, x: float, flip: int) -> None:
    rng = sheet.rng
    x = sheet.width / 2 + flip * rng.uniform(0, 30)
    sheet.flesh([(x, 0), (x, sheet.height)], [sheet.width * 0.42] * 2)
    for side in (-1, 1):
        lung = sheet.tube([(x + side * 70, 80), (x + side * 80, sheet.height * 0.7)], [45, 65])
        sheet.gray -= np.float32(rng.uniform(0, 0.35)) * cv2.GaussianBlur(lung, (0, 0), 5 / sheet.mm_per_px)
        for y in np.arange(40, sheet.height, rng.uniform(22, 34)):
            reach = sheet.width * rng.uniform(0.3, 0.4)
            sheet.bone([(x, y), (x + side * reach * 0.6, y - 12), (x + side * reach, y + 50)], [5, 5, 5], 0.2)
    step = rng.uniform(24, 38)
    for y in np.arange(0, sheet.height, step):
        sheet.bone([(x - 8, y), (x + 8, y)], [step * 0.42] * 2, 0.3)
    sheet.spots.append((x, float(rng.uniform(0, sheet.height))))
    for side in (-1, 1):
        _shoulder(sheet, x + side * sheet.width * rng.uniform(0.28, 0.42), sheet.height * rng.uniform(0.1, 0.4), side)
        dome = (x + side * rng.uniform(50, 90), sheet.height + rng.uniform(-20, 40))
        sheet.bone([dome, (dome[0] + side * 40, dome[1] + 30)], [rng.uniform(50, 80)] * 2, 0.25)


def _shoulder(sheet: Sheet, x: float, y: float, side: int) -> None:
    rng, head = sheet.rng, sheet.rng.uniform(20, 27)
    sheet.bone([(x, y)] * 2, [head] * 2, 0.2)
    down = (x + side * rng.uniform(0, 40), y + 130)
    sheet.bone([(x + side * 6, y + 8), ((x + down[0]) / 2, y + 60), down], [head * 0.8, 13, 12], 0.25)
    blade = (x - side * rng.uniform(26, 40), y + rng.uniform(0, 15))
    sheet.bone([blade, (blade[0] - side * 20, blade[1] + 90)], [rng.uniform(12, 20), 6], 0.12)
    sheet.bone(
        [(x + side * 5, y - head - 6), (x - side * 60, y - head - 16), (x - side * 110, y - head)], [7, 6, 8], 0.2
    )
    sheet.joint((x - side * head, y), rng.uniform(60, 120), head * 0.8, rng.uniform(1.5, 3))


def _bones(sheet: Sheet, x: float, flip: int) -> None:
    rng, y = sheet.rng, sheet.height / 2
    sheet.flesh([(x, 0), (x, sheet.height)], rng.uniform(30, 90, 2).tolist())
    for _ in range(int(rng.integers(2, 7))):
        points = [(x + rng.uniform(-80, 80) * flip, y + rng.uniform(-160, 160)) for _ in range(3)]
        sheet.bone(points, rng.uniform(4, 38, 3).tolist())
    for _ in range(int(rng.integers(0, 3))):
        at = (x + rng.uniform(-40, 40), y + rng.uniform(-100, 100))
        sheet.joint(at, rng.uniform(-90, 90), rng.uniform(12, 45), rng.uniform(1, 4))


#: What can be drawn: on a sheet, around an x, as on a right (-1) or left (1) side; lateral views come most often.
OTHERS: dict[str, Callable[[Sheet, float, int], None]] = {
    "ankle": _ankle,
    "lateral": _lateral_knee,
    "skyline": _skyline,
    "hip": _hip,
    "hand": _hand,
    "foot": _foot,
    "elbow": _elbow,
    "trunk": _trunk,
    "bones": _bones,
}


#: How often each of them comes.
SHARES = (0.12, 0.28, 0.08, 0.06, 0.06, 0.12, 0.08, 0.12, 0.08)


def draw_other(
    part: str, options: RadiographOptions, rng: np.random.Generator
) -> tuple[SyntheticRadiograph, list[Point]]:
    """A radiograph of something else, of one side or both.

    Args:
        part: One of `OTHERS`.
        options: What the radiograph is like.
        rng: Source of everything random.

    Returns:
        The radiograph, without knees and markers, and where in mm its joints are.
    """
    sheet = Sheet(options.size_mm, options.mm_per_px, rng)
    if rng.random() < 0.5 and part != "trunk":
        apart = sheet.width * rng.uniform(0.2, 0.3)
        for side in (-1, 1):
            OTHERS[part](sheet, sheet.width / 2 + side * apart, side)
    else:
        OTHERS[part](sheet, sheet.width / 2 + float(rng.uniform(-30, 30)), int(rng.choice((-1, 1))))
    return expose(sheet.finish(), (), options, rng), sheet.spots
