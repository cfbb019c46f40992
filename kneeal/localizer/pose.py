"""Where a knee is on a radiograph, the patches that are cut there, and the side that they show."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kneeal.data.patches import FIELD_MM, FIELD_PX, MM_PER_PX, PATCH_PX, cut_patch_pair
from kneeal.localizer.windows import cut_window, to_radiograph

#: The knee region is 140 mm on a side.
REGION_MM = 140.0
#: The center of the region is between the tibial spines, this far above the line through the plateau edges: the
#: mean of 748 annotated OAI knees (`kneeal/data/knee_shape.json`), whose regions are centered there.
SPINES_ABOVE_MM = 7.5
#: Patches may reach this far beyond the radiograph, and sideways farther: a knee is narrower than its patches.
_BEYOND_MM, _BESIDE_MM = 3.0, 10.0
#: Side of the picture on which the side of a knee is found.
CONTRAST_PX = 16


@dataclass(frozen=True)
class KneePose:
    """A knee on a radiograph."""

    side: str  #: "L" or "R"; empty for a place that is shown only.
    #: Center of the tibial plateau, halfway between its edges: (x, y) mm from the radiograph's upper left corner.
    center_mm: tuple[float, float]
    angle_deg: float  #: Angle of the line through the edges; positive where it descends to the right of the radiograph.
    score: float = 1.0  #: How sure the localizer is, 0 to 1; 1 where a person or a file says so.

    @property
    def region_center_mm(self) -> tuple[float, float]:
        """Center of the 140 mm region on the radiograph."""
        x, y = to_radiograph(np.array([0.0, -SPINES_ABOVE_MM]), self.center_mm, self.angle_deg)
        return float(x), float(y)

    def corners_mm(self, width: float, height: float, below: float = 0.0) -> NDArray[np.float64]:
        """Corners of a level rectangle around the region's center, on the radiograph, [4, 2] clockwise."""
        x, y = width / 2, height / 2
        corners = np.array([(-x, below - y), (x, below - y), (x, below + y), (-x, below + y)])
        return to_radiograph(corners, self.region_center_mm, self.angle_deg)


def cut_patches(radiograph: NDArray[np.uint8], mm_per_px: tuple[float, float], pose: KneePose) -> NDArray[np.uint8]:
    """Rotate the knee until it is level, cut its 140 mm region, and of its 110 mm center the two patches.

    The radiograph is bone bright and scaled between the percentiles of its whole.

    Returns:
        uint8 [2, 128, 128], medial then lateral; see `kneeal.data.patches`.
    """
    region, region_mm_per_px = cut_region(radiograph, mm_per_px, pose)
    return cut_patch_pair(region, region_mm_per_px, pose.side)


def cut_region(radiograph: NDArray[Any], mm_per_px: tuple[float, float], pose: KneePose) -> tuple[NDArray[Any], float]:
    """Rotate the knee until it is level and cut its 140 mm region, from which the patches are cut.

    Returns:
        [size, size] of the radiograph's type, and the mm of its pixels.
    """
    # The rotated region has the radiograph's own resolution: averaging comes after, when it is brought to 0.367 mm a
    # pixel.
    size = round(REGION_MM / min(*mm_per_px, MM_PER_PX))
    return cut_window(
        radiograph, mm_per_px, pose.region_center_mm, pose.angle_deg, size, REGION_MM / size
    ), REGION_MM / size


def leaves_radiograph(shape: tuple[int, int], mm_per_px: tuple[float, float], pose: KneePose) -> bool:
    """Whether a patch reaches too far beyond a radiograph of this shape (height, width in px)."""
    # The patches are 128 px high, from a third of the field on.
    below = (FIELD_PX // 3 + PATCH_PX / 2 - FIELD_PX / 2) * MM_PER_PX
    corners = pose.corners_mm(FIELD_MM - 2 * (_BESIDE_MM - _BEYOND_MM), PATCH_PX * MM_PER_PX, below)
    limit = np.array([shape[1] * mm_per_px[1], shape[0] * mm_per_px[0]])
    return bool((corners < -_BEYOND_MM).any() or (corners > limit + _BEYOND_MM).any())


def find_side(pair: NDArray[np.uint8]) -> str:
    """The side, "R" or "L", of a knee whose patches uint8 [2, 128, 128] were cut as those of a right knee.

    The fibula and the shape of the condyles tell lateral from medial. A linear rule on the difference of both patches,
    so that exchanging them exchanges the answer; how often it is right is in docs/prepare.md.
    """
    return "R" if float((_side_weights() * contrast(pair)).sum()) >= 0 else "L"


def contrast(pair: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The second patch minus the first, float32 [16, 16] within -1 .. 1."""
    first, second = (cv2.resize(patch, (CONTRAST_PX, CONTRAST_PX), interpolation=cv2.INTER_AREA) for patch in pair)
    return np.asarray((second.astype(np.float32) - first.astype(np.float32)) / 255, np.float32)


@cache
def _side_weights() -> NDArray[np.float32]:
    """The 256 weights that `python -m tools.localizer.fit_side` fitted."""
    with files("kneeal.localizer").joinpath("side.npy").open("rb") as file:
        return np.asarray(np.load(file, allow_pickle=False), np.float32)
