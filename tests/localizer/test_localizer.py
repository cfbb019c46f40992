"""Poses, landmark files, the localizer's judgement, and the localizer itself on a few radiographs that it never saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kneeal.data.patches import scale_intensities
from kneeal.errors import UserError
from kneeal.localizer import detect
from kneeal.localizer.detect import Localizer
from kneeal.localizer.landmarks import KNEEL_MM, KNEEL_PAD_PX, LandmarkSource, MarkedKnee
from kneeal.localizer.pose import KneePose, cut_patches, leaves_radiograph
from kneeal.localizer.quality import (
    Localization,
    LocalizedKnee,
    LocalizedMarker,
    SelectionRules,
    SideEvidence,
    marker_rule,
    select_knees,
)
from kneeal.localizer.windows import cut_window, to_radiograph
from tools.radiographs import RadiographOptions, draw_radiograph

RIGHT, LEFT = LocalizedKnee((120, 150), 2.0, 0.9, 0.0, 0.0), LocalizedKnee((280, 150), -2.0, 0.9, 0.0, 0.0)
MARKS = (LocalizedMarker("R", (60, 90), 0.99),)


def test_windows_and_points_agree() -> None:
    radiograph = np.zeros((200, 300), np.uint8)
    radiograph[80:83, 120:123] = 255  # center of the spot: pixel (121, 81)
    spot = np.array([121.5 * 0.5, 81.5 * 0.5])
    window = cut_window(radiograph, (0.5, 0.5), (55.0, 45.0), 25.0, 101, 0.5)
    y, x = (np.array(np.nonzero(window > 127)).mean(axis=1) - 50) * 0.5
    assert np.allclose(to_radiograph(spot - (55.0, 45.0), (0.0, 0.0), -25.0), (x, y), atol=0.3)
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


def test_a_patch_may_reach_beside_the_radiograph_where_no_bone_is() -> None:
    # Half of the field is 55 mm, and a patch reaches about 22 mm below the joint.
    for x, left in ((55, False), (46, False), (43, True)):
        assert leaves_radiograph((800, 800), (0.25, 0.25), KneePose("R", (x, 100), 0)) == left
        assert leaves_radiograph((800, 800), (0.25, 0.25), KneePose("L", (200 - x, 100), 0)) == left
    assert leaves_radiograph((800, 800), (0.25, 0.25), KneePose("R", (100, 190), 0))


@pytest.mark.parametrize(
    ("localization", "reason"),
    [
        (Localization((), ()), "no_knee"),
        (Localization((RIGHT,), ()), "one_knee"),
        (Localization((RIGHT, LEFT, replace(LEFT, center_mm=(400, 150))), MARKS), "too_many"),
        (Localization((RIGHT, replace(LEFT, nothing=0.9)), ()), "one_knee"),
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
def test_radiographs_are_rejected_with_their_reason(localization: Localization, reason: str) -> None:
    selection = select_knees(localization, SelectionRules("require"))
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


def test_two_good_places_among_several_are_the_knees() -> None:
    hips = tuple(replace(LEFT, center_mm=(x, -120.0), score=0.66, replaced=0.3) for x in (150.0, 250.0))
    assert [pose.center_mm for pose in select_knees(Localization((RIGHT, *hips, LEFT), ())).poses] == [
        RIGHT.center_mm, LEFT.center_mm,
    ]  # fmt: skip


def test_a_good_radiograph_gives_both_knees_and_an_option_keeps_one() -> None:
    assert [pose.side for pose in select_knees(Localization((RIGHT, LEFT), MARKS)).poses] == ["R", "L"]
    other = select_knees(Localization((RIGHT, replace(LEFT, replaced=0.9)), MARKS), SelectionRules(keep_other=True))
    assert [pose.side for pose in other.poses] == ["R"] and other.rejected == (("L", "replacement"),)
    # Without it each knee has its own reason; what the option would help with is told.
    for fault, change in (("replacement", {"replaced": 0.9}), ("low_score", {"score": 0.2})):
        neither = select_knees(Localization((RIGHT, replace(LEFT, **change)), MARKS))
        assert not neither.poses and neither.rejected == (("L", fault), ("R", "other_knee"))
    both = select_knees(Localization((replace(RIGHT, score=0.2), replace(LEFT, replaced=0.9)), MARKS))
    assert both.rejected == (("R", "low_score"), ("L", "replacement"))
    assert select_knees(Localization((RIGHT, LEFT), ())).poses
    # Proper markers on both sides outvote a text that looks like a letter; in doubt, `check` goes on.
    both = (*MARKS, LocalizedMarker("L", (340, 90), 0.99))
    assert select_knees(Localization((RIGHT, LEFT), (*both, LocalizedMarker("mirrored", (200, 20), 0.99)))).poses
    assert select_knees(Localization((RIGHT, LEFT), (LocalizedMarker("L", (60, 90), 0.8),))).poses


#: A radiograph that is no wider than one knee needs.
SMALL = SideEvidence(width_mm=240)


def chosen(localization: Localization, rules: SelectionRules | None = None, **known: Any) -> str:
    """The sides of the knees that are used, or the reason."""
    evidence = replace(SMALL, **known)
    selection = select_knees(localization, rules, evidence)
    assert selection.single and len(selection.seen) == 1
    return "".join(pose.side for pose in selection.poses) or selection.rejected[0][1]


@pytest.mark.parametrize(
    ("known", "side"),
    [
        ({"stated": ("L", "")}, "L"),
        ({"stated": ("", "R")}, "R"),
        ({"stated": ("R", "L")}, "side_conflict"),
        ({"stated": ("", "B")}, "one_of_two"),
        ({"stated": ("R", "B")}, "R"),
        ({"stated": ("R", ""), "flipped": True}, "marker_mirrored"),
        ({}, "one_knee"),
    ],
)
def test_one_knee_is_used_where_its_side_is_told(known: dict[str, Any], side: str) -> None:
    assert chosen(Localization((RIGHT,), ()), **known) == side


def test_one_knee_takes_its_side_from_a_sure_marker_or_the_options() -> None:
    def marker(letter: str, probability: float, *at: float) -> Localization:
        return Localization((RIGHT,), (LocalizedMarker(letter, (at[0], at[1]), probability),))

    assert chosen(marker("L", 0.99, 60, 30)) == "L" and chosen(marker("mirrored", 0.99, 60, 30)) == "marker_mirrored"
    assert chosen(marker("L", 0.85, 60, 30)) == "one_knee"
    # A letter that reads as it should shows that the picture is not flipped, whatever the header says.
    assert chosen(marker("L", 0.99, 60, 30), flipped=True) == "L"
    # On bone anything may look like a letter.
    assert chosen(marker("L", 0.93, 130, 160)) == "one_knee"
    assert chosen(marker("L", 0.99, 60, 30), stated=("R", "")) == "side_conflict"
    for side in ("R", "L", "unknown"):
        assert chosen(Localization((RIGHT,), ()), SelectionRules(side=side)) == side
        assert chosen(Localization((RIGHT,), ()), SelectionRules(side=side), stated=("B",)) == "one_of_two"
    # A second knee may have been missed on a wide radiograph: only a marker on the right half of it tells the side.
    assert chosen(Localization((RIGHT,), ()), SelectionRules(side="R"), width_mm=400) == "one_of_two"
    assert chosen(marker("L", 0.99, 330, 30), width_mm=400) == "one_of_two"
    assert chosen(marker("R", 0.99, 60, 30), width_mm=400) == "R"
    # There, a left knee is on the right, whatever table and header say of the radiograph.
    assert chosen(Localization((RIGHT,), ()), stated=("L", ""), width_mm=400) == "one_of_two"
    assert chosen(Localization((RIGHT,), ()), stated=("R", ""), width_mm=400) == "R"
    # Alone, it must be surer than beside a second one, and a lower threshold helps.
    doubtful = replace(RIGHT, score=0.7)
    assert chosen(Localization((doubtful,), ()), SelectionRules(min_score=0.5), stated=("R", "")) == "low_score"
    assert chosen(Localization((doubtful,), ()), SelectionRules(min_score=0.4), stated=("R", "")) == "R"
    assert chosen(Localization((replace(RIGHT, score=0.84),), ()), stated=("R", "")) == "low_score"
    assert chosen(Localization((replace(RIGHT, score=0.85),), ()), stated=("R", "")) == "R"
    assert chosen(Localization((replace(RIGHT, replaced=0.8),), ()), stated=("R", "")) == "replacement"


@pytest.mark.parametrize(
    "other",
    [
        {"center_mm": (144.0, 150.0)},  # 24 mm apart
        {"center_mm": (280.0, 290.0)},  # far below
        {"center_mm": (220.0, 215.0)},  # nearer to above each other than to beside
        {"angle_deg": 45.0},
        {"center_mm": (520.0, 150.0)},
    ],
)
def test_two_places_that_are_no_pair_are_rejected(other: dict[str, Any]) -> None:
    selection = select_knees(Localization((RIGHT, replace(LEFT, **other)), MARKS), SelectionRules("ignore"))
    assert selection.rejected == (("", "no_pair"),) and len(selection.seen) == 2


def test_a_doubt_that_outweighs_the_vote_rejects_whatever_the_rule() -> None:
    swapped = Localization((RIGHT, LEFT), (LocalizedMarker("L", (60, 90), 0.97), LocalizedMarker("R", (200, 20), 0.7)))
    header = SideEvidence(flipped=True)
    for rule in ("check", "require"):
        # One letter of 0.7 does not save it.
        assert select_knees(swapped, SelectionRules(rule)).rejected == (("", "marker_swapped"),)
        found = select_knees(Localization((RIGHT, LEFT), ()), SelectionRules(rule), header)
        assert found.rejected == (("", "marker_mirrored"),)
    assert select_knees(swapped, evidence=SideEvidence(lateral=True)).rejected == (("", "view"),)
    # Markers of a kind that cannot be read are no doubt.
    assert select_knees(Localization((RIGHT, LEFT), ())).poses
    # A good marker beside a header that says otherwise leaves it open.
    assert select_knees(Localization((RIGHT, LEFT), MARKS), None, header).poses
    assert select_knees(Localization((RIGHT, LEFT), (LocalizedMarker("L", (60, 90), 0.75),))).poses


def test_marker_letters_choose_the_rule() -> None:
    assert [marker_rule(text) for text in ("Check", "D/E", "g/d", "DX/SX", "re/li", "R/L", "L/R")] == [
        "check", "ignore", "ignore", "ignore", "ignore", "check", "check",
    ]  # fmt: skip
    for text in ("some", "D", "D/D", "1/2", ""):
        with pytest.raises(UserError, match="--markers"):
            marker_rule(text)


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


def test_dark_pictures_of_small_knees_get_another_look(monkeypatch: pytest.MonkeyPatch) -> None:
    localizer, size, used = Localizer(), 0.7, {"one look": 0, "more": 0}
    for patient in range(6):
        radiograph = draw_radiograph(patient, 5, RadiographOptions(mm_per_px=0.6, marker="missing", texts=0))
        dark = np.rint(255 * (scale_intensities(radiograph.gray) / 255.0) ** 3).astype(np.uint8)
        found = localizer.find(dark, (0.6 * size, 0.6 * size))
        with monkeypatch.context() as patch:
            patch.setattr(detect, "_SECOND_LOOKS", ())
            used["one look"] += len(select_knees(localizer.find(dark, (0.6 * size, 0.6 * size))).poses) == 2
        if len(select_knees(found).poses) == 2:
            used["more"] += 1
            for knee, pose in zip(radiograph.knees, found.knees, strict=True):
                assert np.hypot(*np.subtract(pose.center_mm, np.multiply(knee.center_mm, size))) < 3
    assert used["one look"] < used["more"] and used["more"] >= 5
