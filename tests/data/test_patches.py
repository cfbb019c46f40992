from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kneeal.data.patches import (
    FIELD_PX,
    MM_PER_PX,
    PATCH_PX,
    cut_patch_pair,
    resize,
    scale_intensities,
)

MEDIAL, LATERAL = 0, 1


def field(seed: int = 0, width: int = FIELD_PX, height: int = FIELD_PX) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def test_the_published_geometry_at_the_published_scale() -> None:
    right = field()
    pair = cut_patch_pair(right, MM_PER_PX, "R")
    np.testing.assert_array_equal(pair[LATERAL], right[100:228, :128])
    np.testing.assert_array_equal(pair[MEDIAL], right[100:228, 172:][:, ::-1])


def test_of_the_whole_region_of_140_mm_the_center_counts() -> None:
    region = field(width=382, height=382)
    pair = cut_patch_pair(region, MM_PER_PX, "R")
    np.testing.assert_array_equal(pair, cut_patch_pair(region[41:341, 41:341], MM_PER_PX, "R"))


@given(seed=st.integers(0, 99), size=st.integers(256, 400), offset=st.floats(-20, 20))
@settings(max_examples=25, deadline=None)
def test_a_left_knee_is_a_mirrored_right_knee(seed: int, size: int, offset: float) -> None:
    picture = field(seed, size, size)
    left = cut_patch_pair(picture[:, ::-1], MM_PER_PX, "L", joint_offset_mm=offset)
    np.testing.assert_array_equal(left, cut_patch_pair(picture, MM_PER_PX, "R", joint_offset_mm=offset))


@given(size=st.integers(256, 400))
@settings(max_examples=25, deadline=None)
def test_both_patches_of_a_symmetric_knee_are_equal(size: int) -> None:
    half = field(width=size)
    pair = cut_patch_pair(np.concatenate([half, half[:, ::-1]], 1)[:, size // 2 : -(size // 2)], MM_PER_PX, "R")
    np.testing.assert_array_equal(pair[MEDIAL], pair[LATERAL])


@pytest.mark.parametrize("side", ["L", "R"])
def test_the_fibula_is_on_the_outer_edge_of_the_lateral_patch(side: str) -> None:
    picture = np.zeros((FIELD_PX, FIELD_PX), np.uint8)
    # The fibula is on the right of the picture of a left knee, and on the left of that of a right knee.
    picture[:, 280:] = 255 if side == "L" else 0
    picture[:, :20] = 255 if side == "R" else 0
    pair = cut_patch_pair(picture, MM_PER_PX, side)
    assert pair[LATERAL, :, :20].min() == 255
    assert pair[LATERAL, :, 20:].max() == 0
    assert pair[MEDIAL].max() == 0


@given(size=st.integers(256, FIELD_PX))
@settings(max_examples=25, deadline=None)
def test_in_a_smaller_picture_the_patches_move_inward_and_hold_real_pixels(size: int) -> None:
    picture = np.broadcast_to(np.linspace(1, 255, size).astype(np.uint8), (size, size))
    pair = cut_patch_pair(picture, MM_PER_PX, "R")
    np.testing.assert_array_equal(pair[LATERAL], picture[:PATCH_PX, :PATCH_PX])
    np.testing.assert_array_equal(pair[MEDIAL], picture[:PATCH_PX, ::-1][:, :PATCH_PX])


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.35, 2.0])
def test_a_patch_has_one_physical_scale_whatever_the_picture_has(scale: float) -> None:
    size = round(FIELD_PX * scale)
    y, x = np.mgrid[:size, :size] / scale
    # A bright disc of 20 mm across, 64 px of the field into both directions of the lateral patch.
    disc = np.hypot(x - 64, y - 164) * MM_PER_PX <= 10.0
    patch = cut_patch_pair(disc.astype(np.uint8) * 255, MM_PER_PX / scale, "R")[LATERAL]
    inside = patch > 127
    assert abs(float(np.sqrt(inside.sum() / np.pi)) * MM_PER_PX - 10.0) < 0.3
    np.testing.assert_allclose(np.argwhere(inside).mean(0), [64, 64], atol=1.0)


def test_shrinking_averages_and_does_not_alias() -> None:
    stripes = np.zeros((4 * FIELD_PX, 4 * FIELD_PX), np.uint8)
    stripes[:, ::2] = 200
    assert set(np.unique(cut_patch_pair(stripes, MM_PER_PX / 4, "R"))) == {100}


def test_the_joint_offset_moves_the_patches_down_and_stops_at_the_edge() -> None:
    picture = field()
    lower = cut_patch_pair(picture, MM_PER_PX, "R", joint_offset_mm=10 * MM_PER_PX)
    np.testing.assert_array_equal(lower[LATERAL], picture[110:238, :128])
    lowest = cut_patch_pair(picture, MM_PER_PX, "R", joint_offset_mm=500.0)
    np.testing.assert_array_equal(lowest[LATERAL], picture[172:, :128])
    highest = cut_patch_pair(picture, MM_PER_PX, "R", joint_offset_mm=-500.0)
    np.testing.assert_array_equal(highest[LATERAL], picture[:128, :128])


def test_patches_are_contiguous_bytes() -> None:
    pair = cut_patch_pair(field(), 0.33, "L")
    assert pair.shape == (2, PATCH_PX, PATCH_PX)
    assert pair.dtype == np.uint8
    assert pair.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    ("size", "mm_per_px", "side", "words"),
    [(FIELD_PX, MM_PER_PX, "left", "side"), (255, MM_PER_PX, "R", "94 mm"), (FIELD_PX, 0.2, "R", "60 mm x 60 mm")],
)
def test_impossible_cuts_are_refused(size: int, mm_per_px: float, side: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cut_patch_pair(field(width=size, height=size), mm_per_px, side)


def test_intensities_are_clipped_at_the_5th_and_99th_percentile() -> None:
    ramp = np.arange(1001, dtype=np.uint16).reshape(7, 143)
    scaled = scale_intensities(ramp).ravel()
    assert (scaled[:51] == 0).all()
    assert (scaled[990:] == 255).all()
    np.testing.assert_allclose(scaled[50:991], np.linspace(0, 255, 941), atol=0.51)


@given(gain=st.floats(0.1, 50), offset=st.floats(0, 1000), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_exposure_and_contrast_do_not_matter(gain: float, offset: float, seed: int) -> None:
    picture = field(seed, 64, 64)
    changed = scale_intensities(picture.astype(np.float64) * gain + offset).astype(int)
    assert abs(changed - scale_intensities(picture)).max() <= 1


def test_a_flat_radiograph_becomes_black() -> None:
    assert scale_intensities(np.full((8, 8), 37, np.uint16)).max() == 0


def test_resize_averages_and_keeps_what_has_the_size() -> None:
    ramp = np.linspace(20, 230, 32 * 32).reshape(32, 32)
    pair = np.stack([ramp, ramp.T]).astype(np.uint8)
    half = resize(pair, 16)
    assert half.shape == (2, 16, 16)
    assert half[0, 0, 0] == pytest.approx(pair[0, :2, :2].mean(), abs=1)
    assert np.array_equal(resize(pair, 32), pair)
