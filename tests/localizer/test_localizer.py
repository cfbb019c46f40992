"""Poses, landmark files, the localizer's judgement, and the localizer itself on a few radiographs that it never saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kneeal.data.patches import scale_intensities
from kneeal.data.synthetic.radiographs import RadiographOptions, draw_radiograph
from kneeal.errors import UserError
from kneeal.localizer.detect import Localizer
from kneeal.localizer.landmarks import KNEEL_MM, KNEEL_PAD_PX, LandmarkSource, MarkedKnee
from kneeal.localizer.localization import Localization, LocalizedKnee, LocalizedMarker
from kneeal.localizer.pose import KneePose, cut_patches, leaves_radiograph
from kneeal.localizer.quality import select_knees
from kneeal.localizer.windows import cut_window, to_radiograph, to_window

RIGHT, LEFT = LocalizedKnee((120, 150), 2.0, 0.9, 0.0, 0.0), LocalizedKnee((280, 150), -2.0, 0.9, 0.0, 0.0)
MARKS = (LocalizedMarker("R", (60, 90), 0.99),)


def test_windows_and_points_agree() -> None:
    radiograph = np.zeros((200, 300), np.uint8)
    radiograph[80:83, 120:123] = 255  # center of the spot: pixel (121, 81)
    spot = np.array([121.5 * 0.5, 81.5 * 0.5])
    window = cut_window(radiograph, (0.5, 0.5), (55.0, 45.0), 25.0, 101, 0.5)
    y, x = (np.array(np.nonzero(window > 127)).mean(axis=1) - 50) * 0.5
    assert np.allclose(to_window(spot, (55.0, 45.0), 25.0), (x, y), atol=0.3)
    assert np.allclose(to_radiograph(np.array([x, y]), (55.0, 45.0), 25.0), spot, atol=0.3)


def test_a_turned_knee_gives_the_patches_of_a_level_one() -> None:
    level = draw_radiograph(3, 5, RadiographOptions(mm_per_px=0.25), sides="R")
    gray, knee = scale_intensities(level.gray), level.knees[0]
    straight = cut_patches(gray, (0.25, 0.25), KneePose("R", knee.center_mm, knee.angle_deg))
    # The same radiograph turned by 10 degrees around the knee.
    x, y = knee.center_mm
    size = 900
    turned = cut_window(gray, (0.25, 0.25), (x, y), -10.0, size, 0.25)
    again = cut_patches(turned, (0.25, 0.25), KneePose("R", (size / 8, size / 8), knee.angle_deg + 10))
    assert np.abs(straight.astype(int) - again).mean() < 3
    assert not leaves_radiograph((size, size), (0.25, 0.25), KneePose("R", (size / 8, size / 8), 0))
    assert leaves_radiograph((size, size), (0.25, 0.25), KneePose("R", (20, size / 8), 0))


@pytest.mark.parametrize(
    ("localization", "reason"),
    [
        (Localization((), ()), "no_knee"),
        (Localization((RIGHT,), MARKS), "one_knee"),
        (Localization((RIGHT, LEFT, replace(LEFT, center_mm=(400, 150))), MARKS), "too_many"),
        (Localization((RIGHT, replace(LEFT, nothing=0.9)), MARKS), "one_knee"),
        (Localization((RIGHT, replace(LEFT, replaced=0.9)), MARKS), "replacement"),
        (Localization((RIGHT, replace(LEFT, score=0.2)), MARKS), "low_score"),
        (Localization((RIGHT, LEFT), ()), "marker_missing"),
        (Localization((RIGHT, LEFT), (LocalizedMarker("L", (60, 90), 0.99),)), "marker_swapped"),
        (Localization((RIGHT, LEFT), (LocalizedMarker("mirrored", (60, 90), 0.99),)), "marker_mirrored"),
        # One letter, not certain: not read. Two that agree: swapped. Two that contradict each other: not read.
        (Localization((RIGHT, LEFT), (LocalizedMarker("L", (60, 90), 0.8),)), "marker_missing"),
        (
            Localization((RIGHT, LEFT), (LocalizedMarker("L", (60, 90), 0.8), LocalizedMarker("R", (340, 90), 0.8))),
            "marker_swapped",
        ),
        (Localization((RIGHT, LEFT), (*MARKS, LocalizedMarker("R", (340, 90), 0.99))), "marker_missing"),
        (Localization((RIGHT, LEFT), (*MARKS, LocalizedMarker("mirrored", (340, 90), 0.99))), "marker_missing"),
    ],
)
def test_radiographs_are_set_aside_with_their_reason(localization: Localization, reason: str) -> None:
    selection = select_knees(localization)
    assert selection.poses == () and selection.rejected == (("", reason),)


def test_what_was_seen_is_told_whether_or_not_it_is_used() -> None:
    def seen(*knees: LocalizedKnee) -> list[tuple[str, float]]:
        return [(pose.side, pose.center_mm[0]) for pose in select_knees(Localization(knees, ())).seen]

    right, left = RIGHT.center_mm[0], LEFT.center_mm[0]
    assert seen(RIGHT, LEFT) == [("R", right), ("L", left)]
    assert seen(RIGHT, replace(LEFT, replaced=0.9)) == [("R", right), ("L", left)]
    # A third place that is clearly worse changes nothing; a single knee has no known side.
    assert seen(RIGHT, LEFT, replace(LEFT, center_mm=(400, 150), score=0.1)) == [("R", right), ("L", left)]
    assert seen(LEFT) == [("", left)] and seen() == []


def test_a_good_radiograph_gives_both_knees_and_an_option_keeps_one() -> None:
    assert [pose.side for pose in select_knees(Localization((RIGHT, LEFT), MARKS)).poses] == ["R", "L"]
    other = select_knees(Localization((RIGHT, replace(LEFT, replaced=0.9)), MARKS), keep_other=True)
    assert [pose.side for pose in other.poses] == ["R"] and other.rejected == (("L", "replacement"),)
    assert select_knees(Localization((RIGHT, LEFT), ()), markers="check").poses
    # Proper markers on both sides outvote a text that looks like a letter; in doubt, `check` goes on.
    both = (*MARKS, LocalizedMarker("L", (340, 90), 0.99))
    assert select_knees(Localization((RIGHT, LEFT), (*both, LocalizedMarker("mirrored", (200, 20), 0.99)))).poses
    assert select_knees(Localization((RIGHT, LEFT), (LocalizedMarker("L", (60, 90), 0.8),)), markers="check").poses


def test_kneels_table(tmp_path: Path) -> None:
    table = tmp_path / "k.csv"
    # Margins 60 px apart and level; the left knee is mirrored inside its box of 466 px.
    table.write_text(
        "subject_id,side,kl,tibia,femur,bbox,center\n"
        '9,R,1,"100,260,200,230,300,270",,"200,300,666,766","433,533"\n'
        '9,L,1,"100,260,200,230,300,270",,"900,300,1366,766","1133,533"\n'
    )
    right, left = (knee.pose((1000, 1000), (0.2, 0.2)) for knee in LandmarkSource(table).find("x", "9"))
    assert right.center_mm == pytest.approx(((200 + 200 - KNEEL_PAD_PX) * KNEEL_MM, (565 - KNEEL_PAD_PX) * KNEEL_MM))
    assert left.center_mm[0] == pytest.approx((900 + 266 - KNEEL_PAD_PX) * KNEEL_MM)
    assert right.angle_deg == pytest.approx(-left.angle_deg) and right.angle_deg > 0


def test_boxes_and_pts(tmp_path: Path) -> None:
    table = tmp_path / "b.csv"
    table.write_text("path,side,x1,y1,x2,y2\na/001,R,100,100,800,800\n")
    pose = LandmarkSource(table).find("a/001", "9")[0].pose((2000, 2000), (0.2, 0.2))
    assert pose.region_center_mm == pytest.approx((90, 90))
    points = "\n".join(f"{k} {2 * k}" for k in range(74))
    (tmp_path / "pts").mkdir()
    for name in ("001.pts", "001_f.pts"):
        (tmp_path / "pts" / name).write_text(f"version: 1\nn_points: 74\n{{\n{points}\n}}\n")
    knees = LandmarkSource(tmp_path / "pts").find("001", "9")
    assert [knee.side for knee in knees] == ["R", "L"]
    assert knees[1].pose((500, 500), (0.2, 0.2)).center_mm == pytest.approx((55, 110))
    assert knees[0].pose((500, 500), (0.2, 0.2)).center_mm == pytest.approx((45, 110))
    table.write_text("path,side,x1,y1,x2,y2\na/001,R,100,nan,800,800\n")
    with pytest.raises(UserError, match="line 2"):
        LandmarkSource(table)
    assert MarkedKnee("R", ((1.0, 1.0), (3.0, 1.0))).pose((9, 9), (1, 1)).center_mm == (2, 1)


def test_the_finder_finds_knees_that_it_never_saw() -> None:
    localizer = Localizer()
    for patient in range(4):
        radiograph = draw_radiograph(patient, 31, RadiographOptions(mm_per_px=0.4))
        found = localizer.find(scale_intensities(radiograph.gray), (0.4, 0.4)).knees
        for truth, knee in zip(radiograph.knees, found, strict=True):
            assert np.hypot(*np.subtract(truth.center_mm, knee.center_mm)) < 5
            assert abs(truth.angle_deg - knee.angle_deg) < 3 and knee.score > 0.5
    empty = localizer.find(np.zeros((900, 1000), np.uint8), (0.4, 0.4))
    assert empty.knees == ()
    with pytest.raises(UserError, match="weights"):
        Localizer(Path("nowhere.npz"))
