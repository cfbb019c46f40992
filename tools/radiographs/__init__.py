"""Synthetic bilateral radiographs: two legs, shafts, soft tissue, side markers, collimation, any pose and exposure.

To develop and test on, and to train the localizer with. The knees come from `kneeal.data.synthetic` or from pictures.
"""

from __future__ import annotations

from tools.radiographs.bilateral import (
    KneeOnRadiograph,
    RadiographOptions,
    SyntheticRadiograph,
    compose_radiograph,
    draw_radiograph,
    scatter_poses,
)
from tools.radiographs.legs import Leg, Pose, draw_leg, picture_leg

__all__ = [
    "KneeOnRadiograph",
    "Leg",
    "Pose",
    "RadiographOptions",
    "SyntheticRadiograph",
    "compose_radiograph",
    "draw_leg",
    "draw_radiograph",
    "picture_leg",
    "scatter_poses",
]
