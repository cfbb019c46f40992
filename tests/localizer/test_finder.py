"""Poses, landmark files, the finder's judgement, and the finder itself on a few films that it never saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kneeal.data.patches import scale_intensities
from kneeal.data.synthetic.radiographs import FilmOptions, draw_film
from kneeal.errors import UserError
from kneeal.localizer.detect import Finder
from kneeal.localizer.findings import Findings, FoundKnee, FoundMarker
from kneeal.localizer.landmarks import KNEEL_MM, KNEEL_PAD_PX, LandmarkSource, MarkedKnee
from kneeal.localizer.pose import KneePose, cut_patches, leaves_film
from kneeal.localizer.quality import judge
from kneeal.localizer.windows import cut_window, to_film, to_window

RIGHT, LEFT = FoundKnee((120, 150), 2.0, 0.9, 0.0, 0.0), FoundKnee((280, 150), -2.0, 0.9, 0.0, 0.0)
MARKS = (FoundMarker("R", (60, 90), 0.99),)


def test_windows_and_points_agree() -> None:
    film = np.zeros((200, 300), np.uint8)
    film[80:83, 120:123] = 255  # middle of the spot: pixel (121, 81)
    spot = np.array([121.5 * 0.5, 81.5 * 0.5])
    window = cut_window(film, (0.5, 0.5), (55.0, 45.0), 25.0, 101, 0.5)
    y, x = (np.array(np.nonzero(window > 127)).mean(axis=1) - 50) * 0.5
    assert np.allclose(to_window(spot, (55.0, 45.0), 25.0), (x, y), atol=0.3)
    assert np.allclose(to_film(np.array([x, y]), (55.0, 45.0), 25.0), spot, atol=0.3)


def test_a_turned_knee_gives_the_patches_of_a_level_one() -> None:
    level = draw_film(3, 5, FilmOptions(mm_per_px=0.25), sides="R")
    grey, knee = scale_intensities(level.grey), level.knees[0]
    straight = cut_patches(grey, (0.25, 0.25), KneePose("R", knee.middle_mm, knee.angle_deg))
    # The same film turned by 10 degrees around the knee.
    x, y = knee.middle_mm
    size = 900
    turned = cut_window(grey, (0.25, 0.25), (x, y), -10.0, size, 0.25)
    again = cut_patches(turned, (0.25, 0.25), KneePose("R", (size / 8, size / 8), knee.angle_deg + 10))
    assert np.abs(straight.astype(int) - again).mean() < 3
    assert not leaves_film((size, size), (0.25, 0.25), KneePose("R", (size / 8, size / 8), 0))
    assert leaves_film((size, size), (0.25, 0.25), KneePose("R", (20, size / 8), 0))


@pytest.mark.parametrize(
    ("findings", "reason"),
    [
        (Findings((), ()), "no_knee"),
        (Findings((RIGHT,), MARKS), "one_knee"),
        (Findings((RIGHT, LEFT, replace(LEFT, middle_mm=(400, 150))), MARKS), "too_many"),
        (Findings((RIGHT, replace(LEFT, nothing=0.9)), MARKS), "one_knee"),
        (Findings((RIGHT, replace(LEFT, replaced=0.9)), MARKS), "replacement"),
        (Findings((RIGHT, replace(LEFT, score=0.2)), MARKS), "low_score"),
        (Findings((RIGHT, LEFT), ()), "marker_missing"),
        (Findings((RIGHT, LEFT), (FoundMarker("L", (60, 90), 0.99),)), "marker_swapped"),
        (Findings((RIGHT, LEFT), (FoundMarker("mirrored", (60, 90), 0.99),)), "marker_mirrored"),
        # One letter, not certain: not read. Two that agree: swapped. Two that contradict each other: not read.
        (Findings((RIGHT, LEFT), (FoundMarker("L", (60, 90), 0.8),)), "marker_missing"),
        (
            Findings((RIGHT, LEFT), (FoundMarker("L", (60, 90), 0.8), FoundMarker("R", (340, 90), 0.8))),
            "marker_swapped",
        ),
        (Findings((RIGHT, LEFT), (*MARKS, FoundMarker("R", (340, 90), 0.99))), "marker_missing"),
        (Findings((RIGHT, LEFT), (*MARKS, FoundMarker("mirrored", (340, 90), 0.99))), "marker_missing"),
    ],
)
def test_films_are_set_aside_with_their_reason(findings: Findings, reason: str) -> None:
    verdict = judge(findings)
    assert verdict.poses == () and verdict.refused == (("", reason),)


def test_what_was_seen_is_told_whether_or_not_it_is_used() -> None:
    def seen(*knees: FoundKnee) -> list[tuple[str, float]]:
        return [(pose.side, pose.middle_mm[0]) for pose in judge(Findings(knees, ())).seen]

    right, left = RIGHT.middle_mm[0], LEFT.middle_mm[0]
    assert seen(RIGHT, LEFT) == [("R", right), ("L", left)]
    assert seen(RIGHT, replace(LEFT, replaced=0.9)) == [("R", right), ("L", left)]
    # A third place that is clearly worse changes nothing; a single knee has no known side.
    assert seen(RIGHT, LEFT, replace(LEFT, middle_mm=(400, 150), score=0.1)) == [("R", right), ("L", left)]
    assert seen(LEFT) == [("", left)] and seen() == []


def test_a_good_film_gives_both_knees_and_an_option_keeps_one() -> None:
    assert [pose.side for pose in judge(Findings((RIGHT, LEFT), MARKS)).poses] == ["R", "L"]
    other = judge(Findings((RIGHT, replace(LEFT, replaced=0.9)), MARKS), keep_other=True)
    assert [pose.side for pose in other.poses] == ["R"] and other.refused == (("L", "replacement"),)
    assert judge(Findings((RIGHT, LEFT), ()), markers="check").poses
    # Proper markers on both sides outvote a text that looks like a letter; in doubt, `check` goes on.
    both = (*MARKS, FoundMarker("L", (340, 90), 0.99))
    assert judge(Findings((RIGHT, LEFT), (*both, FoundMarker("mirrored", (200, 20), 0.99)))).poses
    assert judge(Findings((RIGHT, LEFT), (FoundMarker("L", (60, 90), 0.8),)), markers="check").poses


def test_kneels_table(tmp_path: Path) -> None:
    table = tmp_path / "k.csv"
    # Margins 60 px apart and level; the left knee is mirrored inside its box of 466 px.
    table.write_text(
        "subject_id,side,kl,tibia,femur,bbox,center\n"
        '9,R,1,"100,260,200,230,300,270",,"200,300,666,766","433,533"\n'
        '9,L,1,"100,260,200,230,300,270",,"900,300,1366,766","1133,533"\n'
    )
    right, left = (knee.pose((1000, 1000), (0.2, 0.2)) for knee in LandmarkSource(table).find("x", "9"))
    assert right.middle_mm == pytest.approx(((200 + 200 - KNEEL_PAD_PX) * KNEEL_MM, (565 - KNEEL_PAD_PX) * KNEEL_MM))
    assert left.middle_mm[0] == pytest.approx((900 + 266 - KNEEL_PAD_PX) * KNEEL_MM)
    assert right.angle_deg == pytest.approx(-left.angle_deg) and right.angle_deg > 0


def test_boxes_and_pts(tmp_path: Path) -> None:
    table = tmp_path / "b.csv"
    table.write_text("path,side,x1,y1,x2,y2\na/001,R,100,100,800,800\n")
    pose = LandmarkSource(table).find("a/001", "9")[0].pose((2000, 2000), (0.2, 0.2))
    assert pose.region_middle_mm == pytest.approx((90, 90))
    points = "\n".join(f"{k} {2 * k}" for k in range(74))
    (tmp_path / "pts").mkdir()
    for name in ("001.pts", "001_f.pts"):
        (tmp_path / "pts" / name).write_text(f"version: 1\nn_points: 74\n{{\n{points}\n}}\n")
    knees = LandmarkSource(tmp_path / "pts").find("001", "9")
    assert [knee.side for knee in knees] == ["R", "L"]
    assert knees[1].pose((500, 500), (0.2, 0.2)).middle_mm == pytest.approx((55, 110))
    assert knees[0].pose((500, 500), (0.2, 0.2)).middle_mm == pytest.approx((45, 110))
    table.write_text("path,side,x1,y1,x2,y2\na/001,R,100,nan,800,800\n")
    with pytest.raises(UserError, match="line 2"):
        LandmarkSource(table)
    assert MarkedKnee("R", ((1.0, 1.0), (3.0, 1.0))).pose((9, 9), (1, 1)).middle_mm == (2, 1)


def test_the_finder_finds_knees_that_it_never_saw() -> None:
    finder = Finder()
    for patient in range(4):
        film = draw_film(patient, 31, FilmOptions(mm_per_px=0.4))
        found = finder.find(scale_intensities(film.grey), (0.4, 0.4)).knees
        for truth, knee in zip(film.knees, found, strict=True):
            assert np.hypot(*np.subtract(truth.middle_mm, knee.middle_mm)) < 5
            assert abs(truth.angle_deg - knee.angle_deg) < 3 and knee.score > 0.5
    empty = finder.find(np.zeros((900, 1000), np.uint8), (0.4, 0.4))
    assert empty.knees == ()
    with pytest.raises(UserError, match="weights"):
        Finder(Path("nowhere.npz"))
