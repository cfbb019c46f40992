"""The anatomy of one synthetic knee: how its patient, osteoarthritis and reader make it.

A knee has a latent severity. Two things are drawn from it: the anatomy (joint space, osteophytes, sclerosis,
attrition), each sign with its own scatter, and the Kellgren-Lawrence grade, which a reader assigns by thresholds after
an error. Grades therefore overlap in every sign, the more the closer they are.

The joint (16 landmarks: tibial plateau and femoral condyles), its variation and its joint space come from
`kneeal/data/knee_shape.json`: statistics of the 748 annotated OAI knees published with KNEEL (Tiulpin, Melekhov,
Saarakkala: "KNEEL: Knee Anatomical Landmark Localization Using Hourglass Networks", ICCV VRMI 2019).

Frame: origin at the center of the tibial plateau, x from lateral to medial, y down, every knee oriented like a right
knee (lateral on the left of the picture).
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from kneeal.data.grades import N_GRADES

Array = NDArray[np.float64]

N_MODES = 8
N_VARIETY = 10
LATERAL, MEDIAL = 0, 1

#: Shares of grades 0 to 4 among the 5,778 knees of the OAI baseline pictures (Chen 2018, doi 10.17632/56rmx5bjcr.1).
GRADE_SHARES = (0.396, 0.181, 0.262, 0.131, 0.030)

# Grades of the two knees of a patient correlate by 0.51 in those pictures; what a latent normal needs for it.
GRADE_CORRELATION = 0.58
# The share of the variance of the reader's opinion that is the knee's severity; the rest is the reader's error.
READER_RELIABILITY = 0.90
# How alike the two knees of a patient are in shape and in the signs other than severity.
_SHAPE_SHARE, _SIGN_SHARE = 0.80, 0.40

# By severity 0 to 4: mm at an average margin, and the density of the band under the plateau.
_OSTEOPHYTE_MM = (0.15, 1.0, 2.4, 3.9, 5.5)
_SCLEROSIS = (0.05, 0.10, 0.25, 0.60, 1.00)

_NORMAL = NormalDist()
_THRESHOLDS = [_NORMAL.inv_cdf(float(share)) for share in np.cumsum(GRADE_SHARES)[:-1]]
_EDGES = np.concatenate([[0.0], np.cumsum(GRADE_SHARES)])
_MIDDLES = [_NORMAL.inv_cdf(float(0.5 * (a + b))) for a, b in pairwise(_EDGES)]


@dataclass(frozen=True)
class ShapeStatistics:
    """The content of `knee_shape.json` (source: see the module)."""

    mean: Array  #: Mean landmarks of each grade, mm, [5, 16, 2].
    modes: Array  #: Directions of the main variation, unit length, [8, 16, 2].
    mode_sd: Array  #: Standard deviation along each mode, mm, [8].
    #: Mean and standard deviation in mm by grade of the lateral, medial and narrowest joint space, [5, 3, 2].
    joint_space: Array
    angle_deg: tuple[float, float]  #: Mean and standard deviation of the plateau's angle in the radiograph, degrees.


@cache
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

    severity: float  #: Continuous severity on the scale of the grades, about -0.3 to 4.6.
    modes: Array  #: Scores along the modes of `ShapeStatistics`, in standard deviations, [8].
    joint_space_mm: tuple[float, float]  #: Narrowest width of the lateral and the medial compartment, mm, at least 0.
    #: Length at the lateral tibia, medial tibia, lateral femur, medial femur, mm.
    osteophytes_mm: tuple[float, float, float, float]
    #: Density of the band under the lateral and the medial plateau, 0 (normal) to about 1.
    sclerosis: tuple[float, float]
    attrition_mm: tuple[float, float]  #: Bone lost from the lateral and the medial plateau, mm.
    flare_mm: float  #: How much wider than common the shafts are, mm.
    #: Standard normal scores of what the landmarks do not cover, [10]: fibula (x, y), patella (x, y, size),
    #: epicondyles (lateral, medial), corners of the femoral and of the tibial wall, spines.
    variety: Array
    angle_deg: float  #: Rotation in the radiograph, degrees, positive: the medial side lies lower.
    shift_mm: tuple[float, float]  #: Where the center of the plateau lies from the center of the radiograph, (x, y) mm.


def landmarks(anatomy: KneeAnatomy) -> Array:
    """Mean shape at the severity plus the modes: 16 landmarks in mm, [16, 2]."""
    stats = shape_statistics()
    mean = _at_severity(stats.mean, anatomy.severity)
    return np.asarray(mean + np.tensordot(anatomy.modes * stats.mode_sd, stats.modes, axes=1))


@dataclass(frozen=True)
class Correlated:
    """Standard normal numbers for one knee, which share a part with those of the patient's other knee."""

    patient: np.random.Generator  #: In the same state for both knees.
    knee: np.random.Generator  #: Of this knee alone.

    def normal(self, share: float, size: int = 1) -> Array:
        """Numbers [size] that correlate by `share` with those of the patient's other knee."""
        common, own = self.patient.standard_normal(size), self.knee.standard_normal(size)
        return np.asarray(np.sqrt(share) * common + np.sqrt(1 - share) * own)

    def one(self, share: float) -> float:
        """A single number of `normal`."""
        return float(self.normal(share)[0])


def draw_latent(numbers: Correlated) -> tuple[float, int]:
    """Severity and grade, 0 to 4, of one knee; over many patients the grades follow `GRADE_SHARES`.

    Severity is on the scale of the grades, about -0.4 to 4.7: grade g is where the center of its knees lies.
    """
    latent, error = numbers.one(GRADE_CORRELATION / READER_RELIABILITY), numbers.one(0.0)
    center = float(np.interp(latent, _MIDDLES, range(N_GRADES)))
    below, above = min(latent - _MIDDLES[0], 0.0), max(latent - _MIDDLES[-1], 0.0)
    severity = float(np.clip(center + 0.4 * below + 0.8 * above, -0.4, 4.7))
    opinion = np.sqrt(READER_RELIABILITY) * latent + np.sqrt(1 - READER_RELIABILITY) * error
    return severity, int(np.searchsorted(_THRESHOLDS, opinion))


def draw_anatomy(severity: float, numbers: Correlated) -> KneeAnatomy:
    """Draw a knee of this severity."""
    modes = np.clip(numbers.normal(_SHAPE_SHARE, N_MODES), -2.5, 2.5)
    space, medial_is_worse = _joint_space(severity, numbers)

    size = np.interp(severity, range(N_GRADES), _OSTEOPHYTE_MM)
    scatter = np.exp(0.45 * numbers.normal(_SIGN_SHARE, 4) - 0.1)
    compartment = np.array([1.25 if k % 2 == medial_is_worse else 0.8 for k in range(4)])
    spurs = np.clip(size * scatter * compartment * (1.0, 1.0, 0.85, 0.85), 0.0, 8.0)

    dense = float(np.interp(severity, range(N_GRADES), _SCLEROSIS)) * float(np.exp(0.35 * numbers.one(_SIGN_SHARE)))
    lost = min(max(severity - 3.2, 0.0) * 1.3 * float(np.exp(0.4 * numbers.one(_SIGN_SHARE))), 4.0)

    mean, sd = shape_statistics().angle_deg
    flare, angle, across, along = numbers.normal(0.3, 4)
    return KneeAnatomy(
        severity=severity,
        modes=modes,
        joint_space_mm=space,
        osteophytes_mm=(float(spurs[0]), float(spurs[1]), float(spurs[2]), float(spurs[3])),
        sclerosis=(0.35 * dense, dense) if medial_is_worse else (dense, 0.35 * dense),
        attrition_mm=(0.0, lost) if medial_is_worse else (lost, 0.0),
        flare_mm=float(np.clip(2.0 + 3.5 * flare, -5.0, 9.0)),
        variety=np.clip(numbers.normal(0.7, N_VARIETY), -2.5, 2.5),
        angle_deg=float(np.clip(mean + sd * angle, -8.0, 8.0)),
        shift_mm=(2.0 * float(np.clip(across, -2, 2)), 7.5 + 1.5 * float(np.clip(along, -2, 2))),
    )


def _joint_space(severity: float, numbers: Correlated) -> tuple[tuple[float, float], bool]:
    """Widths (lateral, medial) in mm whose means are the published ones, and whether the medial side is the narrow one.

    The published means fix the rest in closed form. One compartment has the narrowest width n, the other n + gap.
    With p the chance that it is the medial one: medial = n + (1 - p) gap and lateral = n + p gap on average, so
    gap = lateral + medial - 2 n and p = (lateral - n) / gap.
    """
    row = _at_severity(shape_statistics().joint_space, severity)
    lateral, medial, narrowest = row[:, 0]
    gap = lateral + medial - 2 * narrowest
    side, width, spread = numbers.normal(_SIGN_SHARE, 3)
    medial_is_worse = _NORMAL.cdf(float(side)) < (lateral - narrowest) / gap
    n = _lognormal(narrowest, row[2, 1], float(np.clip(width, -2.5, 2.5)))
    other = n + _lognormal(gap, 0.5 * gap, float(np.clip(spread, -2.5, 2.5)))
    return ((other, n) if medial_is_worse else (n, other)), bool(medial_is_worse)


def _at_severity(by_grade: Array, severity: float) -> Array:
    """What a table by grade holds at a severity, interpolated between two grades."""
    position = min(max(severity, 0.0), 4.0)
    below = min(int(position), 3)
    return np.asarray(by_grade[below] + (position - below) * (by_grade[below + 1] - by_grade[below]))


def _lognormal(mean: float, sd: float, score: float) -> float:
    """A log-normal number of that mean and standard deviation, from a standard normal one."""
    variance = np.log1p((sd / mean) ** 2)
    return float(mean * np.exp(np.sqrt(variance) * score - 0.5 * variance))
