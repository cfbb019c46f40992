"""Bone outlines of a synthetic knee, in mm, in the frame of `anatomy`.

The joint follows the landmarks of `anatomy`; shafts, epicondyles, fibula and patella are drawn after common anatomy.
"""

from dataclasses import dataclass

import numpy as np

from kneeal.data.synthetic.anatomy import LATERAL, MEDIAL, Array, KneeAnatomy, landmarks

# Where the lateral and the medial compartment begin and end, from the center of the plateau, over its half width.
_COMPARTMENT = ((-0.86, 0.34), (-0.34, 0.86))
# The margins of the joint stand for grade 0 half a plateau of 38.2 mm; what has no landmark scales with it.
_REFERENCE_HALF_WIDTH_MM = 38.2

# Offsets in mm from the margin landmarks, medial and lateral, down the tibia and up the femur.
_TIBIA = np.array([
    [(0.7, 4.0), (-0.3, 11), (-4.5, 21), (-10.5, 33), (-15, 46), (-18, 60), (-19, 80), (-19, 120)],
    [(-0.9, 4.5), (0.3, 12), (4.5, 22), (10.5, 34), (15, 47), (17.5, 60), (18.5, 80), (18.5, 120)],
])  # fmt: skip
_FEMUR = np.array([
    [(0.8, -4.5), (1.4, -11), (2.6, -18), (4.6, -26), (5.4, -33), (3.6, -42), (-0.5, -52), (-5, -64), (-11, -120)],
    [(-0.8, -4.5), (0.2, -11), (-1.2, -17), (-3.2, -25), (-4.0, -32), (-2.5, -42), (1.5, -52), (5.5, -64), (11, -120)],
])  # fmt: skip
_FIBULA = ((-36, 13.5), (-30, 16), (-27.5, 23), (-29, 32), (-32, 43), (-33, 60), (-33, 120),
           (-43.5, 120), (-43.5, 60), (-44, 44), (-47.5, 33), (-48.5, 24), (-44, 16.5))  # fmt: skip
_PATELLA = ((-20, -58), (-3, -62), (15, -58), (19, -45), (12, -31), (-2, -25), (-16, -31), (-23, -45))


@dataclass(frozen=True)
class KneeOutlines:
    """Closed outlines and open lines of one knee, each [n, 2] in mm, in the radiograph's place.

    `plateau` and `condyles` are the parts of `tibia` and `femur` that face the joint, from lateral to medial.
    """

    femur: Array  #: Closed.
    tibia: Array  #: Closed.
    fibula: Array  #: Closed.
    patella: Array  #: Closed.
    plateau: Array  #: Open.
    condyles: Array  #: Open.
    half_width_mm: float  #: Half the width of the plateau.


def spline(points: Array, *, closed: bool, steps: int = 10) -> Array:
    """Smooth curve through points: centripetal cubic Hermite, which does not overshoot at uneven spacing.

    Args:
        points: [n, 2], consecutive ones distinct.
        closed: Whether the last point joins the first.
        steps: Samples for each segment.

    Returns:
        [n * steps, 2] when closed, else [(n - 1) * steps + 1, 2].
    """
    padded = np.vstack([points[-1:], points, points[:2]]) if closed else points
    gap = np.diff(padded, axis=0)
    dt = np.sqrt(np.maximum(np.hypot(gap[:, 0], gap[:, 1]), 1e-6))[:, None]
    slope = gap / dt
    tangent = (slope[:-1] * dt[1:] + slope[1:] * dt[:-1]) / (dt[:-1] + dt[1:])
    if not closed:
        tangent = np.vstack([slope[:1], tangent, slope[-1:]])
    start, end, width = (padded[1:-2], padded[2:-1], dt[1:-1]) if closed else (points[:-1], points[1:], dt)
    left, right = tangent[:-1], tangent[1:]
    u = (np.arange(steps) / steps)[None, :, None]
    square, cube = u * u, u * u * u
    curve = (
        (2 * cube - 3 * square + 1) * start[:, None]
        + (cube - 2 * square + u) * (left * width)[:, None]
        + (3 * square - 2 * cube) * end[:, None]
        + (cube - square) * (right * width)[:, None]
    ).reshape(-1, 2)
    return curve if closed else np.vstack([curve, points[-1:]])


def joint_space(plateau: Array, condyles: Array, half_width_mm: float) -> tuple[float, float]:
    """Narrowest vertical distance in mm between the two curves in the lateral and the medial compartment."""
    x = np.linspace(*_COMPARTMENT, 25) * half_width_mm
    gap = np.interp(x, plateau[:, 0], plateau[:, 1]) - np.interp(x, condyles[:, 0], condyles[:, 1])
    lateral, medial = gap.min(axis=0).tolist()
    return lateral, medial


def build_outlines(anatomy: KneeAnatomy) -> KneeOutlines:
    """Draw the outlines of a knee whose joint space is the one that the anatomy names (within about 0.2 mm)."""
    marks = landmarks(anatomy)
    half_width = 0.5 * float(marks[8, 0] - marks[0, 0])
    scale = half_width / _REFERENCE_HALF_WIDTH_MM
    variety = anatomy.variety
    tibia_marks, femur_marks = marks[:9].copy(), marks[9:]
    # Attrition hollows the center of a compartment; the outer landmark follows halfway.
    for inner, outer, loss in ((2, 1, anatomy.attrition_mm[LATERAL]), (6, 7, anatomy.attrition_mm[MEDIAL])):
        tibia_marks[outer, 1] += loss
        tibia_marks[inner, 1] += 0.5 * loss
    # The spines sharpen as osteoarthritis proceeds.
    tibia_marks[[3, 5], 1] -= 0.25 * max(anatomy.severity, 0.0) + np.array([0.6, -0.6]) * variety[9:]

    tibia_spurs, femur_spurs = np.reshape(anatomy.osteophytes_mm, (2, 2))
    # Plateau landmarks have close neighbors at the margins, so that the corners stay tight; spurs point outward.
    margins = tibia_marks[:1] + (1.8, -0.15), tibia_marks[8:] + (-1.8, -0.15)
    plateau_points = np.vstack([tibia_marks[:1], margins[0], tibia_marks[1:8], margins[1], tibia_marks[8:]])
    outward = np.array([(-1, -0.12), (-0.5, -0.04), (0.5, -0.04), (1, -0.12)])
    plateau_points[[0, 1, -2, -1]] += outward * tibia_spurs[[0, 0, 1, 1], None]
    # Condyle landmarks have the spurs at their borders, which point down and out, and a round notch between.
    roof = femur_marks[3]
    arch = roof + (femur_marks[[2, 4]] - roof) * (0.42, 0.27)
    condyle_points = np.vstack([femur_marks[:3], arch[:1], roof[None], arch[1:], femur_marks[4:]])
    condyle_points[[0, -1]] += np.array([(-1, 0.05), (1, 0.05)]) * femur_spurs[:, None]
    flare = anatomy.flare_mm
    tibia_wall = _walls(tibia_marks, _TIBIA * scale, 0.6 * flare)
    femur_wall = _walls(femur_marks, _FEMUR * scale, flare)
    femur_wall[3:6, 0] += np.array([0.6, 1.0, 0.7]) * 1.3 * variety[6]
    femur_wall[-6:-3, 0] += np.array([0.7, 1.0, 0.6]) * 1.3 * variety[5]
    femur_wall[[1, -2], 0] += (0.8, -0.8) * variety[7:8]
    tibia_wall[[1, -2], 0] += (0.8, -0.8) * variety[8:9]
    # A spur is blunt: the wall beside the margin goes along with it.
    for wall, spurs in ((tibia_wall, tibia_spurs), (femur_wall, femur_spurs)):
        wall[[-1, -2], 0] -= np.array([0.9, 0.35]) * spurs[LATERAL]
        wall[[0, 1], 0] += np.array([0.9, 0.35]) * spurs[MEDIAL]

    plateau = spline(plateau_points, closed=False)
    femur_points = np.vstack([condyle_points, femur_wall])
    # Turn and shift the femur as a whole until both compartments have their width.
    lever = 1.2 * half_width
    for _ in range(5):
        now = joint_space(plateau, spline(femur_points[: len(condyle_points)], closed=False), half_width)
        down = [now[k] - anatomy.joint_space_mm[k] for k in (LATERAL, MEDIAL)]
        turn = (down[MEDIAL] - down[LATERAL]) / lever
        x, y = femur_points[:, 0].copy(), femur_points[:, 1].copy()
        femur_points[:, 0] = x - turn * y
        femur_points[:, 1] = y + 0.5 * (down[LATERAL] + down[MEDIAL]) + turn * x
    condyles = spline(femur_points[: len(condyle_points)], closed=False)

    def place(points: Array) -> Array:
        angle = np.deg2rad(anatomy.angle_deg)
        turn_matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        return np.asarray(points @ turn_matrix + np.asarray(anatomy.shift_mm), dtype=np.float64)

    return KneeOutlines(
        femur=place(spline(femur_points, closed=True)),
        tibia=place(spline(np.vstack([plateau_points, tibia_wall]), closed=True)),
        fibula=place(spline(np.array(_FIBULA) * (scale, 1.0) + (-2.0, 0.0) + (2.5, 3.0) * variety[:2], closed=True)),
        patella=place(
            spline(np.array(_PATELLA) * scale * (1 + 0.06 * variety[4]) + (2.0, 4.0) * variety[2:4], closed=True)
        ),
        plateau=place(plateau),
        condyles=place(condyles),
        half_width_mm=half_width,
    )


def _walls(marks: Array, offsets: Array, flare: float) -> Array:
    """Points from the medial margin along the shaft and back to the lateral margin; offsets [2, n, 2] in mm."""
    # A wider shaft, not a wider joint: the flare grows with the distance from it.
    wider = np.zeros_like(offsets)
    wider[..., 0] = flare * np.clip(np.abs(offsets[..., 1]) / 50, 0, 1) * [[1], [-1]]
    medial, lateral = marks[[-1, 0], None] + (offsets + wider)
    return np.vstack([medial, lateral[::-1]])
