"""Metal is told from bone: whatever lies in a knee rejects it, and an edge of bone or skin is no letter."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from kneeal.data.patches import scale_intensities
from kneeal.localizer.detect import Localizer, weigh
from kneeal.localizer.networks import MARKER_MM, MARKER_PX
from kneeal.localizer.quality import LocalizedKnee, select_knees
from tools.radiographs import RadiographOptions, compose_radiograph, draw_leg, draw_radiograph, scatter_poses
from tools.radiographs.legs import implant
from tools.radiographs.markers import letter_mask, stamp
from tools.radiographs.overlays import METAL

MM = 0.4
PLAIN = RadiographOptions(mm_per_px=MM, marker="missing", texts=0, max_rotation_deg=5, max_shift_mm=10)


@pytest.fixture(scope="module")
def localizer() -> Localizer:
    return Localizer()


def letters(localizer: Localizer, gray: np.ndarray) -> list[str]:
    """What is read in the middle of a piece of radiograph."""
    center = gray.shape[0] / 2 * MARKER_MM
    with torch.inference_mode():
        return [m.letter for m in localizer._read_markers(gray, (MARKER_MM, MARKER_MM), [(center, center)])]


def partial_implant(gray: np.ndarray, x: float, y: float) -> None:
    """A condyle's runner and a tray below it, on one half of the joint."""
    cv2.ellipse(
        gray, (round((x + 18) / MM), round((y - 14) / MM)), (round(10 / MM), round(14 / MM)), 0, 0, 360, 1.2, -1
    )
    cv2.rectangle(
        gray, (round((x + 6) / MM), round((y + 4) / MM)), (round((x + 32) / MM), round((y + 8) / MM)), 1.2, -1
    )
    cv2.rectangle(
        gray, (round((x + 12) / MM), round((y + 8) / MM)), (round((x + 15) / MM), round((y + 18) / MM)), 1.2, -1
    )


def plate(gray: np.ndarray, x: float, y: float) -> None:
    """A plate on the tibia with its screws."""
    cv2.rectangle(
        gray, (round((x - 26) / MM), round((y + 8) / MM)), (round((x - 20) / MM), round((y + 90) / MM)), 1.2, -1
    )
    for down in (12, 20, 28):
        at = (round((x - 24) / MM), round((y + down) / MM))
        cv2.line(gray, at, (round((x + 26) / MM), at[1]), 1.2, round(3 / MM))


def test_metal_in_one_knee_rejects_the_pair_and_the_same_without_is_used(localizer: Localizer) -> None:
    for patient in (2, 5, 8):
        radiograph = draw_radiograph(patient, 23, PLAIN)
        # As on real radiographs, most of the bone is far below the white that the brightest percent has.
        bone = radiograph.gray**3.5
        assert len(select_knees(localizer.find(scale_intensities(bone), (MM, MM))).poses) == 2
        for draw, knee in zip((partial_implant, plate), radiograph.knees, strict=True):
            gray = bone.copy()
            draw(gray, *knee.center_mm)
            selection = select_knees(localizer.find(scale_intensities(gray), (MM, MM)))
            other = "L" if knee.side == "R" else "R"
            assert selection.rejected == ((knee.side, "replacement"), (other, "other_knee")), (patient, draw.__name__)


@pytest.mark.parametrize("kind", [kind for kind in METAL if kind != "wire"])  # thin wires are mostly missed
def test_metal_of_each_kind_rejects_its_knee_and_none_is_seen_in_the_other(localizer: Localizer, kind: str) -> None:
    for patient, side in ((2, "R"), (5, "L"), (8, "R")):
        rng = np.random.default_rng(patient)
        legs = [draw_leg(patient, leg_side, 23) for leg_side in "RL"]
        legs["RL".index(side)] = implant(legs["RL".index(side)], rng, kind)
        radiograph = compose_radiograph(legs, scatter_poses(2, PLAIN, rng), PLAIN, rng)
        found = localizer.find(scale_intensities(radiograph.gray), (MM, MM))
        assert dict(select_knees(found).rejected).get(side) == "replacement", patient
        assert [knee.replaced > 0.5 for knee in found.knees] == [side == "R", side == "L"]


@pytest.mark.parametrize("edge", ["black", "white"])
def test_metal_is_seen_beside_a_frame_and_a_frame_is_none(localizer: Localizer, edge: str) -> None:
    radiograph = draw_radiograph(2, 23, PLAIN)
    lowest = round((max(knee.center_mm[1] for knee in radiograph.knees) + 48) / MM)
    gray = radiograph.gray**2
    gray[lowest:] = 0
    if edge == "white":
        gray[:, : round(6 / MM)] = 2
        gray[: round(6 / MM)] = 2
    assert len(select_knees(localizer.find(scale_intensities(gray), (MM, MM))).poses) == 2
    partial_implant(gray, *radiograph.knees[0].center_mm)
    selection = select_knees(localizer.find(scale_intensities(gray), (MM, MM)))
    assert selection.rejected == (("R", "replacement"), ("L", "other_knee"))


def test_the_network_is_believed_where_metal_is_darker_than_bone_that_is_overexposed() -> None:
    knee = LocalizedKnee((80.0, 80.0), 0.0, 0.67, 0.31, 0.0)
    gray = np.full((400, 400), 70, np.uint8)
    gray[200:] = 110  # bone
    gray[:140] = np.interp(np.arange(140), (88, 140), (215, 70))[:, None]
    gray[:140, 150:250] += 40  # the femur, brightest where the thigh is thick
    assert weigh(knee, gray, (MM, MM), clear=True).replaced == 0  # no metal: the network is wrong
    cv2.rectangle(gray, (130, 150), (270, 195), 190, -1)
    assert weigh(knee, gray, (MM, MM), clear=True) == knee


def test_the_edge_of_a_thigh_is_no_letter(localizer: Localizer) -> None:
    size = 2 * MARKER_PX
    for turn in range(0, 360, 15):
        gray = np.full((size, size), 4, np.uint8)
        cv2.ellipse(gray, (92, 10), (72, 80), 0, 0, 360, 100, -1, cv2.LINE_AA)
        matrix = cv2.getRotationMatrix2D((size / 2, size / 2), turn, 1.0)
        gray = cv2.GaussianBlur(cv2.warpAffine(gray, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE), (0, 0), 2)
        assert letters(localizer, gray) == []


def test_letters_of_lead_are_read_on_air_and_on_soft_tissue(localizer: Localizer) -> None:
    for k, letter in enumerate("RLRL"):
        for ground in (0.0, 0.3):
            gray = np.full((96, 96), ground, np.float32)
            stamp(gray, letter_mask(letter, 10 + 2 * k, MARKER_MM, 0, k), (48, 48), 1.0)
            assert letters(localizer, np.rint(255 * gray).astype(np.uint8)) == [letter]
