"""Synthetic knee radiographs: good enough to develop on, and no patient's.

Shapes follow the published statistics that ``shape`` cites; ``disease`` draws severity, grade and signs,
``outlines`` the bones, ``render`` (on ``canvas``) the radiograph, ``cohort`` the patients and sites.
"""

from kneeal.data.synthetic.canvas import RADIOGRAPH_MM, RADIOGRAPH_PX
from kneeal.data.synthetic.cohort import (
    SITE_KNEES,
    SyntheticKnee,
    draw_synthetic,
    synthetic_cohort,
    write_synthetic,
)
from kneeal.data.synthetic.disease import GRADE_SHARES
from kneeal.data.synthetic.render import Exposure, draw_knee
from kneeal.data.synthetic.shape import KneeAnatomy

__all__ = [
    "GRADE_SHARES",
    "RADIOGRAPH_MM",
    "RADIOGRAPH_PX",
    "SITE_KNEES",
    "Exposure",
    "KneeAnatomy",
    "SyntheticKnee",
    "draw_knee",
    "draw_synthetic",
    "synthetic_cohort",
    "write_synthetic",
]
