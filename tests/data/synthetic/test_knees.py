"""Synthetic knees: published shapes, correlated knees, grades that overlap with their neighbors."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations, islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kneeal.data.patches import FIELD_PX, MM_PER_PX, cut_patch_pair, scale_intensities
from kneeal.data.prepared import PreparedDataset
from kneeal.data.synthetic.anatomy import (
    GRADE_SHARES,
    Correlated,
    KneeAnatomy,
    draw_anatomy,
    draw_latent,
    shape_statistics,
)
from kneeal.data.synthetic.cohort import (
    SITE_KNEES,
    draw_exposure,
    draw_synthetic,
    patient_site,
    synthetic_cohort,
    write_synthetic,
)
from kneeal.data.synthetic.outlines import build_outlines, joint_space, spline
from kneeal.data.synthetic.render import CENTER_PX, RADIOGRAPH_PX, draw_knee
from kneeal.errors import UserError

SEEDS = st.integers(min_value=0, max_value=2**31)


def numbers(patient: int, side: int, seed: int = 0) -> Correlated:
    return Correlated(np.random.default_rng((seed, patient, 0)), np.random.default_rng((seed, patient, side)))


def anatomy(severity: float, seed: int) -> KneeAnatomy:
    return draw_anatomy(severity, numbers(seed, 1))


@pytest.fixture(scope="module")
def latents() -> tuple[np.ndarray, np.ndarray]:
    """Severity and grade `[patients, 2]` of many patients' right and left knees."""
    drawn = np.array([[draw_latent(numbers(p, side)) for side in (1, 2)] for p in range(4000)])
    return drawn[..., 0], drawn[..., 1].astype(int)


# Shape


def test_the_shipped_statistics_name_their_source_and_have_unit_modes() -> None:
    stats = shape_statistics()
    assert stats.mean.shape == (5, 16, 2)
    assert stats.modes.shape == (8, 16, 2)
    np.testing.assert_allclose(np.linalg.norm(stats.modes.reshape(8, -1), axis=1), 1, atol=0.01)
    # The frame: the plateau edges are level and at equal distance from the origin.
    np.testing.assert_allclose(stats.mean[:, 0], -stats.mean[:, 8], atol=0.05)


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=3, max_size=12, unique=True), st.booleans())
def test_a_spline_passes_through_its_points(points: list[tuple[float, float]], closed: bool) -> None:
    array = np.array(points)
    curve = spline(array, closed=closed, steps=7)
    assert len(curve) == (len(points) * 7 if closed else (len(points) - 1) * 7 + 1)
    np.testing.assert_allclose(curve[::7], array, atol=1e-9)


@given(st.lists(st.floats(0.5, 20), min_size=2, max_size=10))
def test_a_spline_through_points_of_a_line_does_not_turn_back(gaps: list[float]) -> None:
    x = np.cumsum([0.0, *gaps])
    curve = spline(np.stack([x, 2 * x], 1), closed=False)
    np.testing.assert_allclose(curve[:, 1], 2 * curve[:, 0], atol=1e-9)
    assert np.all(np.diff(curve[:, 0]) > 0)


@settings(deadline=None)
@given(st.floats(-0.4, 4.7), SEEDS)
def test_a_knee_has_the_joint_space_that_its_anatomy_names(severity: float, seed: int) -> None:
    knee = anatomy(severity, seed)
    outlines = build_outlines(replace(knee, angle_deg=0.0, shift_mm=(0.0, 0.0)))
    space = joint_space(outlines.plateau, outlines.condyles, outlines.half_width_mm)
    np.testing.assert_allclose(space, knee.joint_space_mm, atol=0.4)
    assert outlines.fibula[:, 0].mean() < outlines.tibia[:, 0].mean(), "the fibula is lateral, on the left"


def test_joint_space_by_severity_is_the_published_one() -> None:
    published = shape_statistics().joint_space[:, :, 0]
    for grade in range(5):
        width = np.array([anatomy(grade, seed).joint_space_mm for seed in range(700)])
        drawn = [*width.mean(0), width.min(1).mean()]
        # Lateral, medial, narrowest; their standard errors are about 0.06 mm.
        np.testing.assert_allclose(drawn, published[grade], atol=0.25)


def test_every_sign_grows_with_severity() -> None:
    means = []
    for severity in (0.0, 1.0, 2.0, 3.0, 4.0):
        knees = [anatomy(severity, seed) for seed in range(200)]
        means.append([np.mean([np.sum(getattr(k, sign)) for k in knees]) for sign in ("osteophytes_mm", "sclerosis")])
        lost = sum(sum(k.attrition_mm) for k in knees)
        assert (lost > 0) == (severity == 4.0), "bone is lost in grade 4 alone"
    assert np.all(np.diff(means, axis=0) > 0)


# Patients and their grades


def test_grades_have_the_shares_of_the_real_cohort(latents: tuple[np.ndarray, np.ndarray]) -> None:
    _, grades = latents
    shares = np.bincount(grades.ravel(), minlength=5) / grades.size
    np.testing.assert_allclose(shares, GRADE_SHARES, atol=0.025)


def test_the_two_knees_of_a_patient_correlate(latents: tuple[np.ndarray, np.ndarray]) -> None:
    _, grades = latents
    assert np.corrcoef(grades[:, 0], grades[:, 1])[0, 1] == pytest.approx(0.51, abs=0.05)
    strangers = np.corrcoef(grades[:-1, 0], grades[1:, 1])[0, 1]
    assert abs(strangers) < 0.06


def test_the_two_knees_correlate_as_real_ones_do(latents: tuple[np.ndarray, np.ndarray], shared_data: Path) -> None:
    real = {path.stem: int(path.parent.name) for path in shared_data.glob("oai_knees/train/*/*.png")}
    both = [(kl, real[f"{knee[:-1]}R"]) for knee, kl in real.items() if knee[-1] == "L" and f"{knee[:-1]}R" in real]
    assert len(both) > 2500
    _, grades = latents
    assert np.corrcoef(grades.T)[0, 1] == pytest.approx(np.corrcoef(np.array(both).T)[0, 1], abs=0.05)


def test_severity_overlaps_between_neighboring_grades_only(latents: tuple[np.ndarray, np.ndarray]) -> None:
    severity, grades = latents
    spread = [np.percentile(severity[grades == grade], (5, 95)) for grade in range(5)]
    assert all(spread[g][1] > spread[g + 1][0] for g in range(4))
    assert all(spread[g][1] < spread[g + 2][0] + 0.35 for g in range(3))
    assert all(spread[g][1] < spread[g + 3][0] for g in range(2))


def test_sites_have_their_shares_even_in_a_small_cohort() -> None:
    total = sum(SITE_KNEES.values())
    assert (total, total - SITE_KNEES["E"], SITE_KNEES["B"]) == (8953, 8050, 1882)
    counts = Counter(patient_site(patient, 3) for patient in range(1000))
    for site, knees in SITE_KNEES.items():
        assert counts[site] / 1000 == pytest.approx(knees / total, abs=0.005)
    assert {patient_site(patient, 3) for patient in range(25)} == set("ABCDE")


# Radiographs


def test_a_left_knee_is_the_mirrored_radiograph_and_its_patches_are_alike() -> None:
    knee, look = anatomy(2.0, 5), draw_exposure("A", np.random.default_rng(1))
    right, left = (draw_knee(knee, look, side, np.random.default_rng(9)) for side in "RL")
    assert right.shape == (RADIOGRAPH_PX, RADIOGRAPH_PX)
    assert right.dtype == np.uint8
    np.testing.assert_array_equal(left, right[:, ::-1])
    np.testing.assert_array_equal(cut_patch_pair(left, MM_PER_PX, "L"), cut_patch_pair(right, MM_PER_PX, "R"))


def test_the_joint_space_is_dark_between_bright_plates() -> None:
    seen = 0
    for patient in range(12):
        knee = anatomy(1.0, patient)
        look = draw_exposure("A", np.random.default_rng(patient))
        if look.inverted or min(knee.joint_space_mm) < 2.0:
            continue
        radiograph = draw_knee(knee, look, "R", np.random.default_rng(0)).astype(float)
        outlines = build_outlines(knee)
        for share in (-0.5, 0.5):
            x = outlines.plateau[:, 0].mean() + share * outlines.half_width_mm
            plateau = np.interp(x, outlines.plateau[:, 0], outlines.plateau[:, 1])
            condyle = np.interp(x, outlines.condyles[:, 0], outlines.condyles[:, 1])
            column = round(x / MM_PER_PX + CENTER_PX)

            def gray(y_mm: float, radiograph: np.ndarray = radiograph, column: int = column) -> float:
                row = round(y_mm / MM_PER_PX + CENTER_PX)
                return float(radiograph[row - 1 : row + 2, column - 4 : column + 5].mean())

            gap = gray(0.5 * (plateau + condyle))
            assert gray(plateau + 1.0) > gap + 5
            assert gray(condyle - 1.5) > gap + 5
            seen += 1
    assert seen >= 10


def test_exposures_vary_as_widely_as_in_real_pictures(shared_data: Path) -> None:
    paths = sorted(shared_data.glob("oai_knees/val/*/*.png"))[::8]
    real = np.array([cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).mean() for path in paths])
    margin = round((RADIOGRAPH_PX - 101 / MM_PER_PX) / 2)
    radiographs = [draw_synthetic(patient, "R", 0)[1][margin:-margin, margin:-margin] for patient in range(60)]
    drawn = np.array([radiograph.mean() for radiograph in radiographs])
    assert np.median(drawn) == pytest.approx(np.median(real), abs=30)
    assert 0.5 < drawn.std() / real.std() < 1.6


# Cohort


def test_a_cohort_repeats_and_a_larger_one_begins_with_the_smaller() -> None:
    few, again = list(synthetic_cohort(3, 7)), list(islice(synthetic_cohort(100, 7), 3))
    assert [row for row, _ in few] == [row for row, _ in again]
    np.testing.assert_array_equal([pair for _, pair in few], [pair for _, pair in again])
    other = list(synthetic_cohort(3, 8))
    assert not any(np.array_equal(a, b) for (_, a), (_, b) in zip(few, other, strict=True))


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = np.random.get_state()[1].copy()
    draw_synthetic(0, "L", 0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_rows_pair_the_knees_of_a_patient() -> None:
    rows = [row for row, _ in synthetic_cohort(4, 0)]
    assert [row["knee_id"] for row in rows] == ["S00001_R", "S00001_L", "S00002_R", "S00002_L"]
    for right, left in zip(rows[::2], rows[1::2], strict=True):
        assert (right["patient_id"], right["site"]) == (left["patient_id"], left["site"])


def pair_accuracy(features: np.ndarray, grades: np.ndarray, low: int, high: int) -> float:
    """Cross-validated accuracy of ridge regression between two grades; chance is 0.5."""
    fold, hits = np.arange(len(grades)) % 5, []
    for held_out in range(5):
        chosen = np.isin(grades, (low, high))
        train, test = chosen & (fold != held_out), chosen & (fold == held_out)
        center = features[train].mean(0)
        centered = features[train] - center
        weights = np.linalg.solve(
            centered @ centered.T + 3 * np.eye(len(centered)), np.where(grades[train] == high, 1, -1)
        )
        hits.append(((features[test] - center) @ centered.T @ weights > 0) == (grades[test] == high))
    return float(np.mean(np.concatenate(hits)))


def test_grades_are_the_easier_to_tell_apart_the_more_they_differ() -> None:
    patients: dict[int, list[int]] = {grade: [] for grade in range(5)}
    patient = 0
    while min(map(len, patients.values())) < 60:
        _, grade = draw_latent(numbers(patient + 1, 1))
        if len(patients[grade]) < 60:
            patients[grade].append(patient)
        patient += 1
    border = (RADIOGRAPH_PX - FIELD_PX) // 2
    features, grades = [], []
    for grade, chosen in patients.items():
        for patient in chosen:
            row, radiograph = draw_synthetic(patient, "R", 0)
            assert row["kl"] == grade
            field = radiograph[border:-border, border:-border]
            pair = cut_patch_pair(scale_intensities(field), MM_PER_PX, "R")
            small = [cv2.resize(patch, (16, 16), interpolation=cv2.INTER_AREA) for patch in pair]
            features.append(np.concatenate(small).ravel() / 255)
            grades.append(grade)
    accuracy: dict[int, list[float]] = {}
    for low, high in combinations(range(5), 2):
        accuracy.setdefault(high - low, []).append(pair_accuracy(np.array(features), np.array(grades), low, high))
    by_distance = [np.mean(accuracy[distance]) for distance in (1, 2, 3, 4)]
    assert np.all(np.diff(by_distance) > 0.02), by_distance
    assert by_distance[0] < 0.75, "neighboring grades must stay hard"
    assert by_distance[3] > 0.8, "no osteoarthritis and severe must differ at a glance"


# Writing


def test_a_written_cohort_opens_as_a_prepared_data_set(tmp_path: Path) -> None:
    steps: list[int] = []
    out = write_synthetic(tmp_path / "knees", n_knees=5, seed=1, progress=steps.append)
    data = PreparedDataset.open(out, verify=True)
    assert sum(steps) == 5
    assert data.info["source"] == "synthetic"
    assert data.patches.shape == (5, 2, 128, 128)
    assert data.patches.std(axis=(1, 2, 3)).min() > 20
    assert set(data.manifest.kl) == set(data.manifest.ids), "every grade is known"
    assert set(data.manifest.frame["split"]) == {""}
    np.testing.assert_array_equal(data.patches, [pair for _, pair in synthetic_cohort(5, 1)])


def test_an_occupied_folder_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    steps: list[int] = []
    with pytest.raises(UserError, match="already exists"):
        write_synthetic(tmp_path, n_knees=2, progress=steps.append)
    assert steps == []
    assert (tmp_path / "mine.txt").read_text() == "keep"
