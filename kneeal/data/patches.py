"""From the picture of one knee to its medial and lateral patch, at one physical scale and orientation.

The geometry is that of Tiulpin et al., "Automatic Knee Osteoarthritis Diagnosis from Plain Radiographs: A Deep
Learning-Based Approach", Scientific Reports 8, 2018, and of the papers that follow it.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

#: The center of the knee region, 110 mm on a side, is resampled to 300 px.
FIELD_MM = 110.0
FIELD_PX = 300
MM_PER_PX = FIELD_MM / FIELD_PX
#: Side of a patch: 46.9 mm.
PATCH_PX = 128


def scale_intensities(radiograph: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Clip a radiograph [H, W] to its 5th and 99th percentile and scale it to 0 .. 255; all zero where it is flat."""
    values = radiograph.astype(np.float32)
    low, high = np.percentile(values, (5.0, 99.0))
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    scaled: NDArray[np.uint8] = np.rint((np.clip(values, low, high) - low) * (255.0 / (high - low))).astype(np.uint8)
    return scaled


def cut_patch_pair(
    picture: NDArray[np.uint8], mm_per_px: float, side: str, *, joint_offset_mm: float = 0.0
) -> NDArray[np.uint8]:
    """Cut the two patches of a knee.

    A left knee is mirrored to look like a right one (lateral on the left of the picture), and the medial patch
    is mirrored once more, so that in both patches the joint's margin is on the left.

    Where the picture is smaller than the 110 mm field, the scale stays and the patches move inward, so that
    they hold real pixels only.

    Args:
        picture: uint8 [H, W], the knee region, not mirrored: the fibula is on the right of the picture for L.
        mm_per_px: Physical size of its pixels.
        side: "L" or "R".
        joint_offset_mm: Distance of the joint line below its position in the published pipeline.

    Returns:
        uint8 [2, 128, 128], medial then lateral, at 0.367 mm per pixel.

    Raises:
        ValueError: The side is neither, or the picture is smaller than two patches.
    """
    if side not in ("L", "R"):
        raise ValueError(f"side must be 'L' or 'R' but got {side=}.")
    width, height, left, top = place_patches(picture.shape, mm_per_px, joint_offset_mm)
    if width < 2 * PATCH_PX or height < PATCH_PX:
        raise ValueError(
            f"the picture must span at least {2 * PATCH_PX * MM_PER_PX:.0f} mm x {PATCH_PX * MM_PER_PX:.0f} mm, "
            f"but got {width * MM_PER_PX:.0f} mm x {height * MM_PER_PX:.0f} mm."
        )
    method = cv2.INTER_AREA if mm_per_px < MM_PER_PX else cv2.INTER_CUBIC
    knee = cv2.resize(picture, (width, height), interpolation=method)
    if side == "L":
        knee = knee[:, ::-1]
    band = knee[top : top + PATCH_PX]
    lateral = band[:, left : left + PATCH_PX]
    medial = band[:, width - left - PATCH_PX : width - left][:, ::-1]
    return np.ascontiguousarray(np.stack([medial, lateral]).astype(np.uint8))


def place_patches(shape: tuple[int, ...], mm_per_px: float, joint_offset_mm: float) -> tuple[int, int, int, int]:
    """Width and height of a picture [H, W] at the scale of the patches, and where the left one begins: left, top; px.

    The patches begin at a third of the field's height and touch its left and right edges.
    """
    width, height = (round(length * (mm_per_px / MM_PER_PX)) for length in shape[::-1])
    top = round(height / 2 - FIELD_PX / 2 + FIELD_PX // 3 + joint_offset_mm / MM_PER_PX)
    return width, height, max(0, round((width - FIELD_PX) / 2)), min(max(top, 0), height - PATCH_PX)


def resize(pair: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The same patches with `size` px on a side; the field of view in mm stays."""
    if pair.shape[-1] == size:
        return np.ascontiguousarray(pair)
    method = cv2.INTER_AREA if size < pair.shape[-1] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(patch, (size, size), interpolation=method) for patch in pair]).astype(np.uint8)
