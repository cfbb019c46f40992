"""Synthetic bilateral films: two legs, shafts, soft tissue, side markers, collimation, any pose and exposure.

To develop and test on, and to train the finder with. The knees come from ``kneeal.data.synthetic`` or from pictures.
"""

from __future__ import annotations

from kneeal.data.synthetic.radiographs.bilateral import (
    Film,
    FilmOptions,
    KneeOnFilm,
    compose_film,
    draw_film,
    scatter_poses,
)
from kneeal.data.synthetic.radiographs.legs import Leg, Pose, draw_leg, picture_leg

__all__ = [
    "Film",
    "FilmOptions",
    "KneeOnFilm",
    "Leg",
    "Pose",
    "compose_film",
    "draw_film",
    "draw_leg",
    "picture_leg",
    "scatter_poses",
]
