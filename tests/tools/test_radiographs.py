"""Radiographs are made of what they say: their truth is what lies on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tools.radiographs import (
    Leg,
    Pose,
    RadiographOptions,
    compose_radiograph,
    draw_leg,
    draw_radiograph,
    scatter_poses,
)
from tools.radiographs.legs import implant, place_leg, resize_leg
from tools.radiographs.markers import letter_mask, stamp
from tools.radiographs.others import OTHERS, draw_other
from tools.radiographs.overlays import METAL

COARSE = RadiographOptions(mm_per_px=0.8)


def test_a_radiograph_depends_on_its_arguments_alone() -> None:
    first, again, other = (draw_radiograph(k, 3, COARSE) for k in (0, 0, 1))
    assert np.array_equal(first.gray, again.gray) and first.knees == again.knees
    assert first.gray.shape != other.gray.shape or not np.array_equal(first.gray, other.gray)
    assert first.gray.shape == (round(356 / 0.8), round(432 / 0.8)) and first.gray.dtype == np.float32
    assert first.gray.min() >= 0 and first.gray.max() <= 1


@pytest.mark.parametrize("turn", [-14.0, 0.0, 11.0])
def test_a_leg_lies_where_its_pose_says(turn: float) -> None:
    picture = np.zeros((281, 281), np.uint8)
    margins = np.array([(-35.0, 12.0), (35.0, 6.0)])
    pixels = margins / 0.5 + 140
    for x, y in pixels.astype(int):
        picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    leg, pose = Leg(picture, 0.5, "R", margins), Pose((100.0, 90.0), turn)
    radiograph = place_leg(leg, pose, (400, 420), 0.5)
    angle = np.deg2rad(leg.angle_deg + turn)
    reach = np.hypot(35.0, 3.0)
    for end in (-1, 1):
        x = (100 + end * reach * np.cos(angle)) / 0.5 - 0.5
        y = (90 + end * reach * np.sin(angle)) / 0.5 - 0.5
        assert radiograph[round(y), round(x)] > 0.9
    assert radiograph[:, :20].max() == 0


def test_bowed_legs_keep_their_plateau() -> None:
    leg = draw_leg(3, "R", 2)
    straight, bowed = (place_leg(leg, Pose((100.0, 100.0), 0.0, bend), (400, 400), 0.5) for bend in (0.0, 20.0))
    row = round(100 / 0.5)
    assert np.allclose(straight[row], bowed[row], atol=0.02) and not np.allclose(straight[0], bowed[0], atol=0.1)
    middle = [np.average(np.arange(400), weights=picture[0]) for picture in (straight, bowed)]
    assert abs(middle[1] - middle[0]) * 0.5 == pytest.approx(100 * np.tan(np.deg2rad(10)), abs=8)


@pytest.mark.parametrize("kind", METAL)
def test_metal_lies_in_the_knee_and_is_brighter_than_bone(kind: str) -> None:
    leg = draw_leg(5, "L", 2)
    small = resize_leg(leg, 0.8)
    assert np.array_equal(small.plateau, 0.8 * leg.plateau) and small.mm_per_px == 0.8 * leg.mm_per_px
    for seed in range(4):
        with_metal = implant(small, np.random.default_rng(seed), kind)
        changed = with_metal.picture.astype(int) - small.picture
        assert changed.min() >= 0 and (changed > 8).sum() * small.mm_per_px**2 > 20
        rows, columns = np.nonzero(changed > 8)
        middle = (np.array([columns.mean(), rows.mean()]) - (small.picture.shape[0] - 1) / 2) * small.mm_per_px
        assert np.hypot(*(middle - small.center)) < 60


@pytest.mark.parametrize("part", OTHERS)
def test_other_radiographs_show_something_and_no_knee(part: str) -> None:
    for seed in range(3):
        radiograph, spots = draw_other(part, COARSE, np.random.default_rng(seed))
        again, _ = draw_other(part, COARSE, np.random.default_rng(seed))
        assert np.array_equal(radiograph.gray, again.gray) and radiograph.gray.std() > 0.05
        assert not radiograph.knees and not radiograph.markers
        assert spots or part == "bones"


def test_a_ruler_runs_from_top_to_bottom() -> None:
    legs = [draw_leg(0, side, 6) for side in "RL"]
    poses = [Pose((120.0, 180.0), 0.0), Pose((300.0, 170.0), 0.0)]
    plain, ruled = (
        compose_radiograph(
            legs, poses, replace(COARSE, ruler=ruler, marker="missing", texts=0), np.random.default_rng(2)
        )
        for ruler in ("", "thin")
    )
    bright = (ruled.gray > 0.7).mean(axis=0)
    assert bright.max() > 0.8 and (plain.gray > 0.7).mean(axis=0).max() < 0.8


def test_a_right_and_a_left_knee_are_turned_towards_each_other() -> None:
    right, left = draw_leg(4, "R", 2), draw_leg(4, "L", 2)
    # The fibula is lateral: on the left of a right knee, on the right of a left one; both plateaus run left to right.
    assert right.plateau[0, 0] < right.plateau[1, 0] and left.plateau[0, 0] < left.plateau[1, 0]
    assert draw_leg(4, "R", 2, replaced=True).picture.max() >= 225
    assert not np.array_equal(draw_leg(4, "R", 2, replaced=True).picture, right.picture)


def test_poses_keep_the_joints_on_the_radiograph_and_apart() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        first, second = scatter_poses(2, COARSE, rng)
        for pose in (first, second):
            assert 0 <= pose.center_mm[0] <= COARSE.size_mm[0] and 80 <= pose.center_mm[1] <= COARSE.size_mm[1] - 80
            assert abs(pose.rotation_deg) <= COARSE.max_rotation_deg
        assert second.center_mm[0] - first.center_mm[0] >= 115


@pytest.mark.parametrize(
    ("marker", "letters"),
    [("right", {"R": "left", "L": "right"}), ("swapped", {"L": "left", "R": "right"}), ("missing", {})],
)
def test_markers_are_what_is_asked_for(marker: str, letters: dict[str, str]) -> None:
    seen = set()
    for patient in range(6):
        radiograph = draw_radiograph(patient, 8, replace(COARSE, marker=marker))
        between = sum(knee.center_mm[0] for knee in radiograph.knees) / 2
        for letter, (x, _), _ in radiograph.markers:
            assert letters[letter] == ("left" if x < between else "right")
            seen.add(letter)
        assert [knee.side for knee in radiograph.knees] == ["R", "L"]
    assert seen == set(letters)


def test_a_mirrored_radiograph_is_the_proper_one_flipped() -> None:
    legs = [draw_leg(0, side, 6) for side in "RL"]
    poses = [Pose((120.0, 180.0), 5.0), Pose((300.0, 170.0), -3.0)]
    proper, flipped = (
        compose_radiograph(legs, poses, replace(COARSE, marker=marker), np.random.default_rng(2))
        for marker in ("right", "mirrored")
    )
    assert np.array_equal(proper.gray[:, ::-1], flipped.gray)
    for knee, image in zip(proper.knees, reversed(flipped.knees), strict=True):
        assert image.side == knee.side and image.angle_deg == -knee.angle_deg
        assert image.center_mm[0] == pytest.approx(COARSE.size_mm[0] - knee.center_mm[0])
    assert {letter for letter, _, _ in flipped.markers} == {"mirrored"}


def test_letters_are_of_the_size_asked_for_and_stay_on_the_radiograph() -> None:
    mask = letter_mask("L", 20.0, 0.5, 0.0, 0)
    rows = np.flatnonzero((mask > 127).any(axis=1))
    assert abs((rows[-1] - rows[0] + 1) * 0.5 - 20) <= 1.5
    # An L is no mirror image of itself, and a frame surrounds it.
    assert not np.array_equal(mask, mask[:, ::-1])
    assert (letter_mask("L", 20.0, 0.5, 0.0, 0, frame="circle") > 127).sum() > (mask > 127).sum()
    radiograph = np.zeros((30, 40), np.float32)
    for spot in ((0.0, 0.0), (39.0, 29.0), (-200.0, 5.0), (20.0, 300.0)):
        stamp(radiograph, mask, spot, 0.9)
    assert radiograph.shape == (30, 40) and 0 < radiograph.max() <= np.float32(0.9)
