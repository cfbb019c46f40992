"""The shape of a synthetic knee: published statistics, and what one knee adds to them.

The joint (16 landmarks: tibial plateau and femoral condyles), its variation and its joint space come from
``kneeal/data/knee_shape.json``: statistics of the 748 annotated OAI knees published with KNEEL (Tiulpin,
Melekhov, Saarakkala: "KNEEL: Knee Anatomical Landmark Localization Using Hourglass Networks", ICCV VRMI 2019).
What those landmarks do not cover is drawn after common anatomy (``outlines``).

Frame: origin at the center of the tibial plateau, x from lateral to medial, y down, every knee oriented like a
right knee (lateral on the left of the picture).
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

N_MODES = 8
N_VARIETY = 10
LATERAL, MEDIAL = 0, 1


@dataclass(frozen=True)
class ShapeStatistics:
    """The content of ``knee_shape.json`` (source: see the module)."""

    mean: Array  #: mean landmarks of each grade, mm, ``[5, 16, 2]``.
    modes: Array  #: directions of the main variation, unit length, ``[8, 16, 2]``.
    mode_sd: Array  #: standard deviation along each mode, mm, ``[8]``.
    #: mean and standard deviation in mm by grade of the lateral, medial and narrowest joint space, ``[5, 3, 2]``.
    joint_space: Array
    angle_deg: tuple[float, float]  #: mean and standard deviation of the plateau's angle in the radiograph, degrees.


@lru_cache(maxsize=1)
def shape_statistics() -> ShapeStatistics:
    """The statistics that ship with the package, read once."""
    raw = json.loads(files("kneeal.data").joinpath("knee_shape.json").read_text(encoding="utf-8"))
    width = raw["joint_space_width_mm_by_grade_mean_sd"]
    grades = [str(grade) for grade in range(5)]
    return ShapeStatistics(
        mean=np.array([raw["mean_shape_by_grade"][g] for g in grades], dtype=np.float64),
        modes=np.array(raw["modes"], dtype=np.float64),
        mode_sd=np.array(raw["mode_sd_mm"], dtype=np.float64),
        joint_space=np.array([[width[g][k] for k in ("lateral", "medial", "narrowest")] for g in grades]),
        angle_deg=(float(raw["plateau_angle_deg"]["mean"]), float(raw["plateau_angle_deg"]["sd"])),
    )


@dataclass(frozen=True)
class KneeAnatomy:
    """What makes one knee: everything that the outlines depend on."""

    severity: float  #: continuous severity on the scale of the grades, about -0.3 to 4.6.
    modes: Array  #: scores along the modes of :class:`ShapeStatistics`, in standard deviations, ``[8]``.
    joint_space_mm: tuple[float, float]  #: narrowest width of the lateral and the medial compartment, mm, at least 0.
    #: length at the lateral tibia, medial tibia, lateral femur, medial femur, mm.
    osteophytes_mm: tuple[float, float, float, float]
    #: density of the band under the lateral and the medial plateau, 0 (normal) to about 1.
    sclerosis: tuple[float, float]
    attrition_mm: tuple[float, float]  #: bone lost from the lateral and the medial plateau, mm.
    flare_mm: float  #: how much wider than common the shafts are, mm.
    #: standard normal scores of what the landmarks do not cover, ``[10]``: fibula (x, y), patella (x, y, size),
    #: epicondyles (lateral, medial), corners of the femoral and of the tibial wall, spines.
    variety: Array
    angle_deg: float  #: rotation in the radiograph, degrees, positive: the medial side lies lower.
    shift_mm: tuple[float, float]  #: where the center of the plateau lies from the center of the radiograph, (x, y) mm.


def landmarks(anatomy: KneeAnatomy) -> Array:
    """Mean shape at the severity plus the modes: 16 landmarks in mm, ``[16, 2]``."""
    stats = shape_statistics()
    position = min(max(anatomy.severity, 0.0), 4.0)
    below = min(int(position), 3)
    mean = stats.mean[below] + (position - below) * (stats.mean[below + 1] - stats.mean[below])
    return np.asarray(mean + np.tensordot(anatomy.modes * stats.mode_sd, stats.modes, axes=1))
