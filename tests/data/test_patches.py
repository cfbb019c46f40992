from __future__ import annotations

import numpy as np
import pytest

from kneeal.data.patches import MM_PER_PX, cut_patch_pair, scale_intensities


def picture(px: int = 300, lateral_on: str = "left") -> np.ndarray:
    """A right knee: 50 on the lateral half, 200 on the medial, 255 at both outer edges."""
    image = np.full((px, px), 200, np.uint8)
    image[:, : px // 2] = 50
    image[:, : px // 30] = image[:, -(px // 30) :] = 255
    return image if lateral_on == "left" else image[:, ::-1]


def test_the_geometry_is_the_published_one() -> None:
    rows = np.tile(np.arange(300, dtype=np.uint16)[:, None] // 2, (1, 300)).astype(np.uint8)
    medial, lateral = cut_patch_pair(rows, MM_PER_PX, "R")
    assert medial[:, 5].tolist() == [row // 2 for row in range(100, 228)]
    columns = np.tile(np.arange(300) // 2, (300, 1)).astype(np.uint8)
    medial, lateral = cut_patch_pair(columns, MM_PER_PX, "R")
    assert lateral[7].tolist() == [column // 2 for column in range(128)]
    assert medial[7].tolist() == [column // 2 for column in reversed(range(172, 300))]


@pytest.mark.parametrize("side", ["L", "R"])
def test_left_and_right_knees_come_out_alike(side: str) -> None:
    medial, lateral = cut_patch_pair(picture(lateral_on="left" if side == "R" else "right"), MM_PER_PX, side)
    assert (lateral[:, 20:] == 50).all()
    assert (medial[:, 20:] == 200).all()
    assert (medial[:, :5] == 255).all() and (lateral[:, :5] == 255).all(), "the margin is on the left of both"


@pytest.mark.parametrize("scale", [0.5, 1.3, 2.0])
def test_the_physical_scale_is_kept(scale: float) -> None:
    reference = cut_patch_pair(picture(300), MM_PER_PX, "R").astype(int)
    other = cut_patch_pair(picture(round(300 * scale)), MM_PER_PX / scale, "R").astype(int)
    assert np.abs(reference - other).mean() < 4


def test_a_smaller_picture_moves_the_patches_inward_without_padding() -> None:
    columns = np.tile(np.arange(276) * 255 // 275, (276, 1)).astype(np.uint8)
    medial, lateral = cut_patch_pair(columns, MM_PER_PX, "R")
    assert lateral[0, 0] == 0
    assert medial[0, 0] == 255
    assert lateral.std(axis=1).min() > 20


def test_the_joint_offset_moves_the_patches_down() -> None:
    rows = np.tile(np.arange(300)[:, None] // 2, (1, 300)).astype(np.uint8)
    medial, _ = cut_patch_pair(rows, MM_PER_PX, "R", joint_offset_mm=10 * MM_PER_PX)
    assert medial[:, 0].tolist() == [row // 2 for row in range(110, 238)]


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="side"):
        cut_patch_pair(picture(), MM_PER_PX, "B")
    with pytest.raises(ValueError, match="must span at least 94 mm x 47 mm, but got 73 mm x 73 mm"):
        cut_patch_pair(picture(200), MM_PER_PX, "R")


def test_intensities_span_the_5th_to_the_99th_percentile() -> None:
    radiograph = np.arange(10_000, dtype=np.uint16).reshape(100, 100)
    scaled = scale_intensities(radiograph)
    assert (scaled.ravel()[:500] == 0).all() and scaled.ravel()[520] > 0
    assert (scaled.ravel()[9900:] == 255).all() and scaled.ravel()[9850] < 255
    assert scaled.ravel()[(500 + 9899) // 2] == pytest.approx(127.5, abs=1)
    assert not scale_intensities(np.full((4, 4), 7)).any()
