"""Where a knee is on a film, and the patches that are cut there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kneeal.data.patches import FIELD_MM, FIELD_PX, MM_PER_PX, PATCH_PX, cut_patch_pair
from kneeal.localizer.windows import cut_window, to_film

#: The knee region is 140 mm on a side.
REGION_MM = 140.0
#: The middle of the region is between the tibial spines, this far above the line through the plateau's margins: the
#: mean of 748 annotated OAI knees (``kneeal/data/knee_shape.json``), whose regions are centred there.
SPINES_ABOVE_MM = 7.5
#: Patches may reach this far beyond the film.
_BEYOND_MM = 3.0


@dataclass(frozen=True)
class KneePose:
    """A knee on a film.

    Attributes:
        side: "L" or "R"; empty for a place that is shown only.
        middle_mm: Middle of the tibial plateau, halfway between its margins: (x, y) mm from the film's upper left
            corner.
        angle_deg: Angle of the line through the margins; positive where it descends to the right of the film.
        score: How sure the finder is, 0 to 1; 1 where a person or a file says so.
    """

    side: str
    middle_mm: tuple[float, float]
    angle_deg: float
    score: float = 1.0

    @property
    def region_middle_mm(self) -> tuple[float, float]:
        """Middle of the 140 mm region on the film."""
        x, y = to_film(np.array([0.0, -SPINES_ABOVE_MM]), self.middle_mm, self.angle_deg)
        return float(x), float(y)

    def corners_mm(self, width: float, height: float, below: float = 0.0) -> NDArray[np.float64]:
        """Corners of a level rectangle around the region's middle, on the film, [4, 2] clockwise."""
        x, y = width / 2, height / 2
        corners = np.array([(-x, below - y), (x, below - y), (x, below + y), (-x, below + y)])
        return to_film(corners, self.region_middle_mm, self.angle_deg)


def cut_patches(film: NDArray[np.uint8], mm_per_px: tuple[float, float], pose: KneePose) -> NDArray[np.uint8]:
    """Turn the knee level, cut its 140 mm region, and of its 110 mm centre the two patches.

    Args:
        film: uint8 [H, W], bone bright, already scaled between the percentiles of the whole film.
        mm_per_px: Height and width of its pixels.
        pose: The knee.

    Returns:
        uint8 [2, 128, 128], medial then lateral; see ``kneeal.data.patches``.
    """
    region, region_mm_per_px = cut_region(film, mm_per_px, pose)
    return cut_patch_pair(region, region_mm_per_px, pose.side)


def cut_region(
    film: NDArray[np.uint8], mm_per_px: tuple[float, float], pose: KneePose
) -> tuple[NDArray[np.uint8], float]:
    """Turn the knee level and cut its 140 mm region, from which the patches are cut.

    Args:
        film: uint8 [H, W].
        mm_per_px: Height and width of its pixels.
        pose: The knee.

    Returns:
        uint8 [size, size] and the mm of its pixels.
    """
    # The turned region has the film's own resolution: averaging comes after, when it is brought to 0.367 mm a pixel.
    size = round(REGION_MM / min(min(mm_per_px), MM_PER_PX))
    return cut_window(film, mm_per_px, pose.region_middle_mm, pose.angle_deg, size, REGION_MM / size), REGION_MM / size


def leaves_film(shape: tuple[int, int], mm_per_px: tuple[float, float], pose: KneePose) -> bool:
    """Whether a patch reaches beyond a film of this shape (height, width in px)."""
    # The patches are 128 px high, from a third of the field on.
    below = (FIELD_PX // 3 + PATCH_PX / 2 - FIELD_PX / 2) * MM_PER_PX
    corners = pose.corners_mm(FIELD_MM, PATCH_PX * MM_PER_PX, below)
    limit = np.array([shape[1] * mm_per_px[1], shape[0] * mm_per_px[0]])
    return bool((corners < -_BEYOND_MM).any() or (corners > limit + _BEYOND_MM).any())
