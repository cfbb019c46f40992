"""One leg of a radiograph: the picture of a knee, continued up and down the shafts, in any pose."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from kneeal.data.patches import MM_PER_PX
from kneeal.data.synthetic.anatomy import Correlated, draw_anatomy, draw_latent, landmarks
from kneeal.data.synthetic.cohort import draw_exposure, patient_site
from kneeal.data.synthetic.render import draw_knee
from tools.radiographs.overlays import add_growth_plates, add_metal, add_sclerosis
from tools.radiographs.shafts import add_shafts

Gray = NDArray[np.float32]
Points = NDArray[np.float64]

# A soft tissue wider than this would leave the picture of the knee at its sides.
_WIDEST_SOFT_MM = 58.0
# The shafts go on as the last millimetres of the picture, to and fro, so that their texture goes on as well.
_BAND_MM = 3.0
# How much wider a thigh is 100 mm above the picture, and a calf below it, as a share.
_THIGH, _CALF = 0.16, 0.04
_PATIENT, _LOOK = 0, 3  # streams of a patient, as in kneeal.data.synthetic.cohort


@dataclass(frozen=True)
class Leg:
    """The picture of a knee, and where its tibial plateau is."""

    picture: NDArray[np.uint8]  #: uint8 [H, W], bone bright, not mirrored.
    mm_per_px: float  #: Size of its pixels.
    side: str  #: "L" or "R".
    plateau: Points  #: The plateau edges on the left and the right of the picture, mm from its center, [2, 2].
    kl: int | None = None  #: KL grade, None where it is not known.

    @property
    def center(self) -> Points:
        """Center of the plateau, mm from the center of the picture, [2]."""
        return np.asarray(self.plateau.mean(axis=0), dtype=np.float64)

    @property
    def angle_deg(self) -> float:
        """Angle of the plateau; positive where it descends to the right of the picture."""
        across = self.plateau[1] - self.plateau[0]
        return float(np.rad2deg(np.arctan2(across[1], across[0])))


@dataclass(frozen=True)
class Pose:
    """Where a leg lies on the radiograph."""

    center_mm: tuple[float, float]  #: Where the center of the plateau is, (x, y) mm from the upper left corner.
    rotation_deg: float  #: How the leg's picture is turned; positive is clockwise.
    bend_deg: float = 0.0  #: By how much thigh and calf together lean to the same side, as bowed legs do.


def draw_leg(patient: int, side: str, seed: int, *, replaced: bool = False) -> Leg:
    """A synthetic knee, the same anatomy and grade as `kneeal.data.synthetic.draw_synthetic` draws.

    Args:
        patient: Number of the patient, 0 or more.
        side: "L" or "R".
        seed: Seed of the cohort.
        replaced: Whether it has a knee replacement.
    """
    own = np.random.default_rng((seed, patient + 1, 1 if side == "R" else 2))
    numbers = Correlated(np.random.default_rng((seed, patient + 1, _PATIENT)), own)
    severity, kl = draw_latent(numbers)
    anatomy = draw_anatomy(severity, numbers)
    look = np.random.default_rng((seed, patient + 1, _LOOK))
    exposure = draw_exposure(patient_site(patient, seed), look)
    exposure = replace(
        exposure,
        soft_mm=min(exposure.soft_mm, _WIDEST_SOFT_MM),
        # Collimation and inversion belong to the whole radiograph.
        collimation=((99.0, 0.0), (99.0, 0.0)),
        inverted=False,
    )
    picture = draw_knee(anatomy, exposure, side, own)
    margins = landmarks(anatomy)[[0, 8]]
    turn = np.deg2rad(anatomy.angle_deg)
    margins = margins @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    margins = margins + np.asarray(anatomy.shift_mm)
    if side == "L":
        margins = (margins * (-1.0, 1.0))[::-1]
    leg = Leg(picture, MM_PER_PX, side, np.asarray(margins, np.float64), kl)
    return implant(leg, own, "partial" if own.random() < 0.15 else "total") if replaced else leg


def implant(leg: Leg, rng: np.random.Generator, kind: str) -> Leg:
    """The leg with metal in its knee; see `tools.radiographs.overlays`."""
    return replace(leg, picture=add_metal(leg.picture, leg.mm_per_px, leg.plateau, rng, kind)[0])


def resize_leg(leg: Leg, factor: float) -> Leg:
    """The same leg of a larger or smaller person."""
    return replace(leg, mm_per_px=leg.mm_per_px * factor, plateau=leg.plateau * factor)


def harden(leg: Leg, rng: np.random.Generator) -> Leg:
    """The leg with sclerosis in its knee."""
    return replace(leg, picture=add_sclerosis(leg.picture, leg.mm_per_px, leg.plateau, rng))


def rejuvenate(leg: Leg, rng: np.random.Generator) -> Leg:
    """The leg with growth plates."""
    return replace(leg, picture=add_growth_plates(leg.picture, leg.mm_per_px, leg.plateau, rng))


def extend_leg(leg: Leg, rng: np.random.Generator) -> Leg:
    """The leg with shafts of its own, in place of what `place_leg` makes of the picture's edges."""
    lateral = -1 if leg.side == "R" else 1
    return replace(leg, picture=add_shafts(leg.picture, leg.mm_per_px, lateral, rng))


def picture_leg(picture: NDArray[np.uint8], width_mm: float, side: str, plateau: Points, kl: int | None = None) -> Leg:
    """A leg around a square picture of a knee, for example a real one."""
    return Leg(picture, width_mm / picture.shape[1], side, np.asarray(plateau, np.float64), kl)


def place_leg(leg: Leg, pose: Pose, shape: tuple[int, int], mm_per_px: float) -> Gray:
    """The leg alone on a radiograph.

    Args:
        leg: What to place.
        pose: Where.
        shape: Height and width of the radiograph in px.
        mm_per_px: Pixel size of the radiograph.

    Returns:
        float32 [H, W], 0 to 1; 0 beside the leg.
    """
    height, width = shape
    x = ((np.arange(width, dtype=np.float32) + 0.5) * mm_per_px - pose.center_mm[0])[None, :]
    y = ((np.arange(height, dtype=np.float32) + 0.5) * mm_per_px - pose.center_mm[1])[:, None]
    turn = np.deg2rad(pose.rotation_deg)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    center = leg.center.astype(np.float32)
    u = x * cos + y * sin + center[0]
    v = y * cos - x * sin + center[1]
    # A shear on either side of the joint leaves the plateau where it is.
    u += np.float32(np.tan(np.deg2rad(pose.bend_deg / 2))) * np.abs(v - center[1])
    half = leg.picture.shape[0] * leg.mm_per_px / 2 - 1.0
    beyond = np.maximum(np.abs(v) - half, 0)
    # To and fro in the last band of the picture.
    back = _BAND_MM - np.abs(np.mod(beyond, 2 * _BAND_MM) - _BAND_MM)
    flare = np.where(v < 0, _THIGH, _CALF).astype(np.float32) * np.minimum(beyond, 150) / 100
    v = np.sign(v) * (np.minimum(np.abs(v), half) - back)
    u = u / (1 + flare)
    scale = np.float32(1 / leg.mm_per_px)
    center_x, center_y = (leg.picture.shape[1] - 1) / 2, (leg.picture.shape[0] - 1) / 2
    sampled = cv2.remap(
        leg.picture,
        (u * scale + center_x).astype(np.float32),
        (v * scale + center_y).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    # Where a picture ends in the soft tissue, the leg's edge is made up: it fades over 12 mm.
    fade = np.clip(1 - (np.abs(u) - (leg.picture.shape[1] * leg.mm_per_px / 2 - 1.0)) / 12, 0, 1)
    return np.asarray(sampled * (fade / 255), dtype=np.float32)
