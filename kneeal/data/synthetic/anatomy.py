"""How osteoarthritis, its reader and the patient make one synthetic knee.

A knee has a latent severity. Two things are drawn from it: the anatomy (joint space, osteophytes, sclerosis,
attrition), each with its own scatter, and the Kellgren-Lawrence grade, which a reader assigns by thresholds
after an error. So the grades overlap in every sign, the more the nearer they are.

Random numbers come in two sets, one of the patient and one of the knee; a mixed number is standard normal and
its correlation between the two knees of a patient is the share of the patient's set.
"""

from itertools import pairwise
from statistics import NormalDist

import numpy as np

from kneeal.data.grades import N_GRADES
from kneeal.data.synthetic.shape import N_MODES, N_VARIETY, Array, KneeAnatomy, shape_statistics

GRADE_SHARES = (0.396, 0.181, 0.262, 0.131, 0.030)
"""Shares of grades 0 to 4 among the 5,778 knees of the OAI baseline pictures (Chen 2018, doi 10.17632/56rmx5bjcr.1)."""

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


class Correlated:
    """Standard normal numbers for one knee, some of them shared with the other knee of the patient."""

    def __init__(self, patient: np.random.Generator, knee: np.random.Generator) -> None:
        """Take the generator of the patient (in the same state for both knees) and of the knee."""
        self._patient = patient
        self._knee = knee

    def normal(self, share: float, size: int = 1) -> Array:
        """Numbers ``[size]`` that correlate by ``share`` with those of the patient's other knee."""
        common, own = self._patient.standard_normal(size), self._knee.standard_normal(size)
        return np.asarray(np.sqrt(share) * common + np.sqrt(1 - share) * own)

    def one(self, share: float) -> float:
        """A single number of :meth:`normal`."""
        return float(self.normal(share)[0])


def severity_of(latent: float) -> float:
    """Severity on the scale of the grades, about -0.4 to 4.7: grade g is where the center of its knees lies."""
    center = float(np.interp(latent, _MIDDLES, range(N_GRADES)))
    below, above = min(latent - _MIDDLES[0], 0.0), max(latent - _MIDDLES[-1], 0.0)
    return float(np.clip(center + 0.4 * below + 0.8 * above, -0.4, 4.7))


def read_grade(latent: float, error: float) -> int:
    """The grade that a reader gives; ``latent`` and ``error`` are standard normal."""
    opinion = np.sqrt(READER_RELIABILITY) * latent + np.sqrt(1 - READER_RELIABILITY) * error
    return int(np.searchsorted(_THRESHOLDS, opinion))


def draw_latent(numbers: Correlated) -> tuple[float, int]:
    """Severity and grade of one knee; over many patients the grades follow ``GRADE_SHARES``.

    Returns:
        Severity (scale of the grades, see :func:`severity_of`) and the grade, 0 to 4.
    """
    share = GRADE_CORRELATION / READER_RELIABILITY
    latent, error = numbers.one(share), numbers.one(0.0)
    return severity_of(latent), read_grade(latent, error)


def draw_anatomy(severity: float, numbers: Correlated) -> KneeAnatomy:
    """Draw a knee of this severity."""
    stats = shape_statistics()
    modes = np.clip(numbers.normal(_SHAPE_SHARE, N_MODES), -2.5, 2.5)
    space, medial_is_worse = _joint_space(severity, numbers)
    worse, better = (1, 0) if medial_is_worse else (0, 1)

    size = np.interp(severity, range(N_GRADES), _OSTEOPHYTE_MM)
    scatter = np.exp(0.45 * numbers.normal(_SIGN_SHARE, 4) - 0.1)
    compartment = np.array([1.25 if k % 2 == worse else 0.8 for k in range(4)])
    spurs = np.clip(size * scatter * compartment * (1.0, 1.0, 0.85, 0.85), 0.0, 8.0)

    dense = float(np.interp(severity, range(N_GRADES), _SCLEROSIS)) * float(np.exp(0.35 * numbers.one(_SIGN_SHARE)))
    lost = max(severity - 3.2, 0.0) * 1.3 * float(np.exp(0.4 * numbers.one(_SIGN_SHARE)))
    sclerosis, attrition = [0.0, 0.0], [0.0, 0.0]
    sclerosis[worse], sclerosis[better] = dense, 0.35 * dense
    attrition[worse] = min(lost, 4.0)

    mean, sd = stats.angle_deg
    flare, angle, across, along = numbers.normal(0.3, 4)
    return KneeAnatomy(
        severity=severity,
        modes=modes,
        joint_space_mm=space,
        osteophytes_mm=(float(spurs[0]), float(spurs[1]), float(spurs[2]), float(spurs[3])),
        sclerosis=(sclerosis[0], sclerosis[1]),
        attrition_mm=(attrition[0], attrition[1]),
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
    table = shape_statistics().joint_space
    position = float(np.clip(severity, 0, 4))
    below = min(int(position), 3)
    row = table[below] + (position - below) * (table[below + 1] - table[below])
    lateral, medial, narrowest = row[:, 0]
    gap = lateral + medial - 2 * narrowest
    side, width, spread = numbers.normal(_SIGN_SHARE, 3)
    medial_is_worse = _NORMAL.cdf(float(side)) < (lateral - narrowest) / gap
    n = _lognormal(narrowest, row[2, 1], float(np.clip(width, -2.5, 2.5)))
    other = n + _lognormal(gap, 0.5 * gap, float(np.clip(spread, -2.5, 2.5)))
    return ((other, n) if medial_is_worse else (n, other)), bool(medial_is_worse)


def _lognormal(mean: float, sd: float, score: float) -> float:
    """A log-normal number of that mean and standard deviation, from a standard normal one."""
    variance = np.log1p((sd / mean) ** 2)
    return float(mean * np.exp(np.sqrt(variance) * score - 0.5 * variance))
