"""Who gets in: radiographs with markers of other hospitals do, other body parts and implants do not."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from kneeal.data.patches import scale_intensities
from kneeal.localizer.detect import Localizer, _shows_letter, weigh
from kneeal.localizer.quality import LocalizedKnee, Selection, SelectionRules, SideEvidence, select_knees
from tools.radiographs import RadiographOptions, draw_radiograph
from tools.radiographs.markers import letter_mask, stamp

MM = 0.6
PLAIN = RadiographOptions(mm_per_px=MM, marker="missing", texts=0, max_rotation_deg=6, max_shift_mm=15)


@pytest.fixture(scope="module")
def localizer() -> Localizer:
    return Localizer()


def judge(localizer: Localizer, gray: np.ndarray, **rules: str) -> Selection:
    found = localizer.find(scale_intensities(gray), (MM, MM))
    return select_knees(found, SelectionRules(**rules), SideEvidence(width_mm=gray.shape[1] * MM))  # type: ignore[arg-type]


@pytest.mark.parametrize("words", [("D", "E"), ("G", "D"), ("DX", "SX"), ("re", "li"), ("DIREITA", "ESQUERDA")])
def test_markers_in_another_language_reject_no_good_pair(localizer: Localizer, words: tuple[str, str]) -> None:
    for patient in (1, 4):
        radiograph = draw_radiograph(patient, 17, PLAIN)
        for knee, word, away in zip(radiograph.knees, words, (-72, 72), strict=True):
            place = ((knee.center_mm[0] + away) / MM, (knee.center_mm[1] - 60) / MM)
            stamp(radiograph.gray, letter_mask(word, 12, MM, 0, patient), place, 1.0)
        assert [pose.side for pose in judge(localizer, radiograph.gray).poses] == ["R", "L"]


def test_a_lead_ball_and_burned_in_words_reject_no_good_pair(localizer: Localizer) -> None:
    radiograph = draw_radiograph(2, 17, PLAIN)
    height, width = radiograph.gray.shape
    cv2.circle(radiograph.gray, (width // 2, round(0.4 * height)), round(12.5 / MM), 1.0, -1, cv2.LINE_AA)
    stamp(radiograph.gray, letter_mask("WEIGHT-BEARING", 7, MM, 0, 0), (width / 2, 20 / MM), 1.0)
    assert len(judge(localizer, radiograph.gray).poses) == 2


def test_an_implant_in_either_knee_rejects_the_pair(localizer: Localizer) -> None:
    for patient, replaced in enumerate(("R", "L", "RL")):
        selection = judge(localizer, draw_radiograph(patient, 19, PLAIN, replaced=replaced).gray, markers="ignore")
        assert not selection.poses and selection.rejected[0][1] in ("replacement", "low_score")


def weighed(gray: np.ndarray, replaced: float, *, clear: bool = True) -> tuple[float, float, float]:
    """Probabilities of a natural knee, of metal and of none, of a knee that the networks gave these of metal."""
    knee = weigh(LocalizedKnee((120.0, 120.0), 0.0, 0.9 - replaced, replaced, 0.1), gray, (0.4, 0.4), clear=clear)
    return round(knee.score, 3), round(knee.replaced, 3), round(knee.nothing, 3)


@pytest.mark.parametrize("frame", [0, 255])
def test_metal_is_seen_below_a_brighter_frame_and_is_believed_only_where_it_could_be(frame: int) -> None:
    gray = np.full((600, 600), 60, np.uint8)
    cv2.line(gray, (300, 0), (300, 600), 100, 80)
    gray = cv2.GaussianBlur(gray, (0, 0), 15)
    gray[:10] = max(frame, 60)
    assert weighed(gray, 0.4) == (0.833, 0.0, 0.1)
    assert weighed(gray, 0.4, clear=False) == (0.5, 0.4, 0.1)
    assert weighed(gray, 0.9)[1] == 0.9
    faint = gray.copy()
    faint[280:300, 270:300] = 125
    assert weighed(faint, 0.4) == (0.5, 0.4, 0.1)
    gray[280:330, 270:330] = 190
    assert weighed(gray, 0.0)[1] == 1.0


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_even_area_is_no_knee(level: int) -> None:
    gray = np.random.default_rng(0).normal(level, 3, (600, 600)).clip(0, 255).astype(np.uint8)
    assert weighed(gray, 0.0) == (0.0, 0.0, 1.0)


def test_a_letter_is_judged_by_its_own_gray_and_not_by_a_brighter_edge_beside_it() -> None:
    window = np.full((48, 48), 57, np.uint8)
    assert not _shows_letter(window, 0.8)
    cv2.line(window, (20, 18), (20, 30), 175, 2)
    cv2.line(window, (20, 30), (27, 30), 175, 2)
    assert _shows_letter(window, 0.8)
    window[12:36, 36] = 240  # bone that begins at the edge of the window's middle
    assert _shows_letter(window, 0.8)
    window[:, 36:] = 240
    window[18:31, 15:28] = 57
    assert not _shows_letter(window, 0.8)


def chest(gray: np.ndarray) -> None:
    for x in (230, 490):
        cv2.ellipse(gray, (x, 300), (105, 200), 0, 0, 360, 0.15, -1, cv2.LINE_AA)
        for y in range(130, 480, 42):
            cv2.ellipse(gray, (x, y), (115, 26), 0, 180, 360, 0.5, 7, cv2.LINE_AA)
    cv2.rectangle(gray, (335, 60), (385, 560), 0.8, -1)


def pelvis(gray: np.ndarray) -> None:
    for x in (220, 500):
        cv2.ellipse(gray, (x, 190), (120, 130), 0, 0, 360, 0.75, 22, cv2.LINE_AA)
        cv2.circle(gray, (x, 390), 44, 0.85, -1, cv2.LINE_AA)
        cv2.ellipse(gray, (360 + (x - 360) // 2, 450), (52, 34), 0, 0, 360, 0.75, 16, cv2.LINE_AA)
        cv2.line(gray, (x, 400), (x + (x - 360) // 3, 590), 0.8, 46, cv2.LINE_AA)


def feet(gray: np.ndarray) -> None:
    for x in (200, 520):
        for ray in range(-2, 3):
            for top, bottom in ((60, 110), (125, 190), (205, 360)):
                at = x + ray * (22 + (360 - top) // 40)
                cv2.line(gray, (at, top), (x + ray * 22, bottom), 0.8, 15, cv2.LINE_AA)
        cv2.ellipse(gray, (x, 440), (62, 78), 0, 0, 360, 0.75, -1, cv2.LINE_AA)


def thighs(gray: np.ndarray) -> None:
    for x in (210, 510):
        cv2.line(gray, (x, 0), (x + 12, 600), 0.45, 190, cv2.LINE_AA)
        cv2.line(gray, (x, 0), (x + 12, 600), 0.85, 46, cv2.LINE_AA)


@pytest.mark.parametrize("draw", [chest, pelvis, feet, thighs])
def test_another_body_part_is_not_used_even_with_markers_ignored(
    localizer: Localizer, draw: Callable[[np.ndarray], None]
) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        gray = np.full((600, 720), 0.3, np.float32)
        draw(gray)
        gray = cv2.GaussianBlur(gray, (0, 0), 2.0) + 0.02 * rng.standard_normal(gray.shape, np.float32)
        gray = np.roll(np.clip(gray, 0, 1) ** rng.uniform(0.6, 1.6), int(rng.integers(-30, 30)), axis=1)
        assert not judge(localizer, gray, markers="ignore", side="unknown").poses
