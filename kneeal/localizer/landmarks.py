"""Where other tools found the knees: KNEEL's landmark table, BoneFinder's .pts, or a table of boxes."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kneeal.errors import UserError, readable, some
from kneeal.localizer.pose import SPINES_ABOVE_MM, KneePose
from kneeal.localizer.windows import to_radiograph
from kneeal.tables import read_table

#: KNEEL's table: pixels of 0.3 mm, on a radiograph padded by 100 of them on each side; nine tibial points from edge
#: to edge, inside a box of 140 mm; in that box a left knee is mirrored.
KNEEL_MM, KNEEL_PAD_PX = 0.3, 100
#: BoneFinder's points on the edges of the tibial plateau, counted from 0; they are in mm.
BONEFINDER_EDGES = (47, 63)


@dataclass(frozen=True)
class MarkedKnee:
    """A knee as a file marks it."""

    side: str  #: "L" or "R".
    #: (x, y) of both plateau edges, or of the region's center alone; from the radiograph's upper left.
    points: tuple[tuple[float, float], ...]
    unit: str = "mm"  #: "mm" or "px".
    angle_deg: float = 0.0  #: Angle of the plateau, where only the region's center is known.
    mirrored: bool = False  #: Whether x counts from the right edge of the radiograph.

    def pose(self, shape: tuple[int, int], mm_per_px: tuple[float, float]) -> KneePose:
        """The knee on a radiograph of this shape (height, width in px) and pixel size (height, width in mm)."""
        points = np.array(self.points, np.float64)
        if self.unit == "px":
            points = (points + 0.5) * np.array([mm_per_px[1], mm_per_px[0]])
        if self.mirrored:
            points[:, 0] = shape[1] * mm_per_px[1] - points[:, 0]
        if len(points) == 1:
            x, y = to_radiograph(np.array([0.0, SPINES_ABOVE_MM]), (points[0, 0], points[0, 1]), self.angle_deg)
            return KneePose(self.side, (float(x), float(y)), self.angle_deg)
        left, right = points[np.argsort(points[:, 0])]
        center = (left + right) / 2
        angle = math.degrees(math.atan2(right[1] - left[1], right[0] - left[0]))
        return KneePose(self.side, (float(center[0]), float(center[1])), angle)


class LandmarkSource:
    """Marked knees by radiograph.

    Args:
        path: A CSV file, or a folder of `.pts` files that mirrors the archive: `<radiograph>.pts` for the left knee and
            `<radiograph>_f.pts`, marked on the mirrored radiograph, for the right.
    """

    def __init__(self, path: Path) -> None:
        self._folder = path if path.is_dir() else None
        self._by_radiograph: Mapping[str, list[MarkedKnee]] = {} if self._folder else read_landmark_table(path)

    def find(self, name: str, patient: str) -> tuple[MarkedKnee, ...]:
        """The knees of a radiograph, by its path in the archive or its patient; empty where the file has none."""
        if self._folder is None:
            return tuple(self._by_radiograph.get(name) or self._by_radiograph.get(patient) or ())
        stem = self._folder / name
        knees = []
        for side, path in (("R", stem.with_name(stem.name + "_f.pts")), ("L", stem.with_name(stem.name + ".pts"))):
            if path.is_file():
                points = read_pts(path)
                ends = tuple((float(x), float(y)) for x, y in points[list(BONEFINDER_EDGES)])
                knees.append(MarkedKnee(side, ends, mirrored=side == "R"))
        return tuple(knees)


def read_pts(path: Path) -> NDArray[np.float64]:
    """The points of a BoneFinder file in mm, [n, 2]."""
    n = max(BONEFINDER_EDGES)
    with readable(path, f"a BoneFinder .pts file of more than {n} points", "export it again"):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        inside = lines[lines.index("{") + 1 : lines.index("}")]
        points = np.array([[float(v) for v in line.split()] for line in inside if line.strip()])
        if points.shape[1:] != (2,) or len(points) <= n or not np.isfinite(points).all():
            raise ValueError(f"it holds {len(points)} points")
    return points


def read_landmark_table(path: Path) -> dict[str, list[MarkedKnee]]:
    """Marked knees by patient or radiograph.

    Either KNEEL's columns subject_id, side, tibia, bbox; or patient_id or path, side, x1, y1, x2, y2 (a box around
    the 140 mm region, px of the radiograph) and perhaps angle_deg.
    """
    table = read_table(path)
    columns = {name.casefold() for name in table.header}
    if {"subject_id", "side", "tibia", "bbox"} <= columns:
        read, key = _kneel, "subject_id"
    elif {"side", "x1", "y1", "x2", "y2"} <= columns and columns & {"path", "patient_id"}:
        read, key = _box, "path" if "path" in columns else "patient_id"
    else:
        raise UserError(
            f"{path} with the columns {some(sorted(columns), 12) or '(none)'}",
            "subject_id, side, tibia, bbox (KNEEL), or path or patient_id, side, x1, y1, x2, y2",
            "rename the columns",
        )
    knees: dict[str, list[MarkedKnee]] = defaultdict(list)
    invalid = []
    for place, row in table.records:
        side, others = row["side"].upper(), knees[row[key]]
        if any(other.side == side for other in others):
            invalid.append(f"{place} (a second one)")
        try:
            others.append(read(row, side))
        except ValueError:
            invalid.append(place)
    if invalid:
        raise UserError(f"{path}: {some(invalid)} cannot be understood", "numbers, sides L and R", "correct these rows")
    return dict(knees)


def _kneel(row: Mapping[str, str], side: str) -> MarkedKnee:
    tibia = np.array(_numbers(row["tibia"].split(","))).reshape(-1, 2)
    x1, y1, x2, _ = _numbers(row["bbox"].split(","))
    if len(tibia) < 2 or side not in ("L", "R"):
        raise ValueError("too few points, or no side")
    ends = tibia[[0, -1]]
    if side == "L":
        ends[:, 0] = x2 - x1 - ends[:, 0]
    ends = (ends + np.array([x1, y1]) - KNEEL_PAD_PX) * KNEEL_MM
    return MarkedKnee(side, tuple((float(x), float(y)) for x, y in ends))


def _box(row: Mapping[str, str], side: str) -> MarkedKnee:
    x1, y1, x2, y2, angle = _numbers([*(row[name] for name in ("x1", "y1", "x2", "y2")), row.get("angle_deg") or "0"])
    if x2 <= x1 or y2 <= y1 or side not in ("L", "R"):
        raise ValueError("an empty box, or no side")
    return MarkedKnee(side, (((x1 + x2) / 2 - 0.5, (y1 + y2) / 2 - 0.5),), unit="px", angle_deg=angle)


def _numbers(texts: Iterable[str]) -> list[float]:
    numbers = [float(text) for text in texts]
    if not all(map(math.isfinite, numbers)):
        raise ValueError("not the numbers expected")
    return numbers
