"""Training samples of the network that shows metal: windows around knees, and where in them metal was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from kneeal.data.patches import scale_intensities
from kneeal.localizer.networks import MARKER_MM, METAL_PX
from kneeal.localizer.windows import cut_window, shrink
from tools.localizer.samples import MarkedPicture, draw_size, draw_tones, single_pose
from tools.radiographs import Leg, RadiographOptions, compose_radiograph, draw_leg
from tools.radiographs.legs import extend_leg, harden, place_leg, rejuvenate, resize_leg
from tools.radiographs.markers import letter_mask, stamp
from tools.radiographs.overlays import METAL, add_metal

Gray = NDArray[np.float32]

_RADIOGRAPH_MM = 0.5
#: How often come real knees, shafts, sclerosis, growth plates, metal, letters, coarse pictures, edges of the exposed
#: field, and sharpening.
_REAL, _SHAFTS, _SCLEROSIS, _YOUNG, _METAL = 0.85, 0.5, 0.4, 0.15, 0.55
_LETTER, _COARSE, _EDGE, _SHARP = 0.25, 0.3, 0.3, 0.5
_METAL_SHARES = (0.1, 0.2, 0.15, 0.15, 0.2, 0.2)  # in the order of METAL
#: Limits of the blur of metal, of the radius of sharpening, and of the distance of letters and edges from the knee.
_BLUR_MM, _SHARP_MM, _LETTER_MM, _EDGE_MM = (0.25, 0.8), (0.6, 12.0), (36.0, 52.0), (18.0, 50.0)


def collect_metal(
    n_radiographs: int, seed: int, pictures: Sequence[MarkedPicture] = ()
) -> dict[str, NDArray[np.uint8]]:
    """Compose radiographs of one knee each, about half of them with metal.

    Args:
        n_radiographs: How many.
        seed: Seed of everything.
        pictures: Real knees and their plateaus; may be empty.

    Returns:
        windows uint8 [N, 96, 96] as the metal network sees them, masks uint8 [N, 48, 48], 255 where there is metal.
    """
    rng = np.random.default_rng((seed, 13))
    n_legs = min(80, 4 * n_radiographs)
    synthetic = [draw_leg(k // 2, "RL"[k % 2], seed) for k in range(n_legs)]
    worn = [picture for picture in pictures if picture.path.parent.name in ("3", "4")]
    windows, masks = [], []
    for _ in range(n_radiographs):
        side = str(rng.choice(("R", "L")))
        if pictures and rng.random() < _REAL:
            some = worn if worn and rng.random() < 0.5 else pictures
            leg = some[int(rng.integers(len(some)))].leg(side)
        else:
            leg = synthetic[int(rng.integers(n_legs // 2)) * 2 + (side == "L")]
        for window, mask in _windows(*_with_metal(leg, rng), rng):
            windows.append(window)
            masks.append(mask)
    return {"windows": np.array(windows), "masks": np.array(masks)}


def _with_metal(leg: Leg, rng: np.random.Generator) -> tuple[Leg, Leg]:
    """The leg, changed at random, and the metal in it alone."""
    if rng.random() < _SHAFTS:
        leg = extend_leg(leg, rng)
    if rng.random() < _SCLEROSIS:
        leg = harden(leg, rng)
    elif rng.random() < _YOUNG / (1 - _SCLEROSIS):
        leg = rejuvenate(leg, rng)
    picture, metal = leg.picture, np.zeros_like(leg.picture)
    if rng.random() < _METAL:
        kind, blur = str(rng.choice(list(METAL), p=_METAL_SHARES)), float(rng.uniform(*_BLUR_MM))
        picture, metal = add_metal(leg.picture, leg.mm_per_px, leg.plateau, rng, kind, blur)
    size = draw_size(rng)
    return resize_leg(replace(leg, picture=picture), size), resize_leg(replace(leg, picture=metal), size)


def _windows(leg: Leg, metal: Leg, rng: np.random.Generator) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Two windows of one radiograph, and the metal in them."""
    options = RadiographOptions(
        size_mm=(float(rng.uniform(140, 300)), float(rng.uniform(180, 300))),
        mm_per_px=_RADIOGRAPH_MM,
        marker=str(rng.choice(("right", "missing"))),
        max_rotation_deg=18.0,
        texts=4,
        max_bend_deg=15.0,
    )
    pose = single_pose(options, rng)
    radiograph = compose_radiograph([leg], [pose], options, rng)
    knee, gray = radiograph.knees[0], radiograph.gray
    mask = np.rint(255 * place_leg(metal, pose, gray.shape, _RADIOGRAPH_MM)).astype(np.uint8)
    _spoil(gray, mask, knee.center_mm, rng)
    if rng.random() < _COARSE:
        share = float(rng.uniform(0.5, 1))
        small = cv2.resize(gray, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        gray = np.asarray(cv2.resize(small, gray.shape[::-1]), np.float32)
    if rng.random() < _SHARP:
        radius = float(np.exp(rng.uniform(*np.log(_SHARP_MM))))
        blurred = cv2.GaussianBlur(gray, (0, 0), radius / _RADIOGRAPH_MM)
        gray = np.asarray(np.clip(gray + np.float32(rng.uniform(0.3, 2.5)) * (gray - blurred), 0, 1), np.float32)
    spacing = (_RADIOGRAPH_MM, _RADIOGRAPH_MM)
    seen, spacing_seen = shrink(draw_tones(rng)[scale_intensities(gray)], spacing, MARKER_MM)
    mask, _ = shrink(mask, spacing, MARKER_MM)
    cut = []
    for _ in range(2):
        away = rng.normal(0, 3, 2).clip(-10, 10)
        center = (knee.center_mm[0] + away[0], knee.center_mm[1] + away[1])
        angle = knee.angle_deg + float(rng.normal(0, 5))
        window, metal_window = (
            cut_window(picture, spacing_seen, center, angle, METAL_PX, MARKER_MM) for picture in (seen, mask)
        )
        small = cv2.resize(metal_window, (METAL_PX // 2, METAL_PX // 2), interpolation=cv2.INTER_AREA)
        cut.append((window, np.asarray(small, np.uint8)))
    return cut


def _spoil(gray: Gray, mask: NDArray[np.uint8], center_mm: tuple[float, float], rng: np.random.Generator) -> None:
    """Perhaps letters of lead beside the knee, which are no metal in it, and an edge of the exposed field, in place."""
    x, y = center_mm
    height, width = gray.shape
    if rng.random() < _LETTER:
        turn, away = rng.uniform(0, 2 * np.pi), rng.uniform(*_LETTER_MM)
        spot = ((x + away * np.cos(turn)) / _RADIOGRAPH_MM, (y + away * np.sin(turn)) / _RADIOGRAPH_MM)
        text = "".join(rng.choice(list("RLABDEG1234"), int(rng.integers(1, 4))))
        lead = letter_mask(text, rng.uniform(5, 18), _RADIOGRAPH_MM, rng.uniform(-20, 20), int(rng.integers(100)))
        stamp(gray, lead, spot, float(rng.uniform(0.7, 1)))
    if rng.random() < _EDGE:
        # Below most often: a beam that is tilted for the plateau ends there.
        turn = np.deg2rad(float(rng.choice((0, 90, 90, 180, 270))) + rng.normal(0, 6))
        across = (np.arange(width, dtype=np.float32) * _RADIOGRAPH_MM - x)[None, :]
        down = (np.arange(height, dtype=np.float32) * _RADIOGRAPH_MM - y)[:, None]
        beyond = across * np.cos(turn) + down * np.sin(turn) > rng.uniform(*_EDGE_MM)
        gray[beyond] *= np.float32(rng.choice((0.0, rng.uniform(0, 0.2))))
        mask[beyond] = 0
