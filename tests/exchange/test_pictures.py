"""What a reader sees: the source picture, a knee out of a bilateral radiograph, or the patches."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.archive import write_test_archive
from helpers.knees import pairs, table

from kneeal.data.patches import MM_PER_PX, PATCH_PX, cut_patch_pair
from kneeal.data.prepared import PreparedDataset, write_prepared
from kneeal.exchange.pictures import POSE_COLUMNS, Pictures, to_png
from kneeal.localizer.landmarks import LandmarkSource
from kneeal.localizer.pose import KneePose
from kneeal.prepare.oai import plan_oai
from kneeal.prepare.pipeline import prepare_archive
from kneeal.prepare.work import PrepareOptions


@pytest.fixture
def dataset(tmp_path: Path) -> PreparedDataset:
    rows = table(3)
    write_prepared(tmp_path / "data", rows, pairs(6), source="folder", options={"roi_mm": 110.0, "joint_offset_mm": 0})
    return PreparedDataset.open(tmp_path / "data")


def test_the_source_picture_is_shown_where_it_is(dataset: PreparedDataset, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    first, second = dataset.manifest.ids[:2]
    picture = np.random.default_rng(0).integers(0, 256, (600, 600), np.uint8)
    (images / "0.png").write_bytes(to_png(picture))
    shown = Pictures(dataset, images)[first]
    assert shown.full and shown.mm_per_px == pytest.approx(110 / 600)
    np.testing.assert_array_equal(shown.pixels, picture)
    assert shown.medial is not None and shown.medial.width == pytest.approx(600 / 300 * PATCH_PX)
    (images / "0.png").write_bytes(b"broken")
    assert not Pictures(dataset, images)[second].full
    assert not Pictures(dataset)[first].full


def test_no_file_outside_the_folder_is_shown(tmp_path: Path) -> None:
    rows = table(1)
    rows["path"] = ["../secret.png", "/etc/hostname"]
    (tmp_path / "images" / "others").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(to_png(np.arange(16, dtype=np.uint8).reshape(4, 4)))
    write_prepared(tmp_path / "data", rows, pairs(2), source="folder", options={})
    pictures = Pictures(PreparedDataset.open(tmp_path / "data"), tmp_path / "images")
    assert [pictures.source(i) for i in rows["knee_id"]] == [None, None]


FINE = 0.2


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedDataset, Path]:
    """Knees of bilateral radiographs, as `kneeal prepare oai` makes them."""
    folder = tmp_path_factory.mktemp("radiographs")
    made = write_test_archive(folder / "radiographs", patients=3, seed=3, mm_per_px=FINE)
    lines = ["patient_id,side,x1,y1,x2,y2,angle_deg"]
    for patient in made:
        for knee in patient.radiograph.knees:
            x, y = (mm / FINE for mm in KneePose(knee.side, knee.center_mm, knee.angle_deg).region_center_mm)
            lines.append(f"{patient.patient},{knee.side},{x - 9},{y - 9},{x + 9},{y + 9},{knee.angle_deg + 2}")
    (folder / "knees.csv").write_text("\n".join(lines) + "\n")
    marked = LandmarkSource(folder / "knees.csv")
    prepare_archive(plan_oai(folder / "radiographs"), folder / "data", PrepareOptions(), workers=0, landmarks=marked)
    return PreparedDataset.open(folder / "data"), folder / "radiographs"


def test_a_knee_of_a_bilateral_radiograph_is_shown_as_it_was_cut(archive: tuple[PreparedDataset, Path]) -> None:
    """Turned level, at the radiograph's resolution; the marked patches are the network's own."""
    dataset, folder = archive
    assert set(POSE_COLUMNS) < set(dataset.manifest.frame.columns)
    assert any(abs(float(angle)) > 0.3 for angle in dataset.manifest.frame["angle_deg"])  # something to turn
    pictures = Pictures(dataset, folder)
    for knee_id in dataset.manifest.ids:
        shown, side, row = pictures[knee_id], pictures.sides[knee_id], dataset.row[knee_id]
        assert shown.full and shown.mm_per_px == pytest.approx(FINE, rel=0.01)
        assert shown.pixels.shape == (round(140 / FINE),) * 2
        cut = cut_patch_pair(shown.pixels, shown.mm_per_px, side)
        # The manifest has hundredths of a mm and of a degree: a gray value more or less.
        assert np.abs(cut.astype(int) - dataset.patches[row]).max() <= 3
        assert shown.medial is not None and shown.lateral is not None
        for box in (shown.medial, shown.lateral):
            assert box.width == pytest.approx(PATCH_PX * MM_PER_PX / shown.mm_per_px, rel=0.01)
        assert (shown.medial.x < shown.lateral.x) == (side == "L")


def test_a_reader_gets_more_than_eight_bits_of_the_same_range(archive: tuple[PreparedDataset, Path]) -> None:
    """The 12 bits of the radiograph between its percentiles, so that a window within them has grays left to show."""
    dataset, folder = archive
    knee_id = dataset.manifest.ids[0]
    usual, deep = Pictures(dataset, folder)[knee_id].pixels, Pictures(dataset, folder, bits=16)[knee_id].pixels
    assert (usual.dtype, deep.dtype) == (np.uint8, np.uint16)
    assert np.abs(deep / 257 - usual).max() <= 1
    assert len(np.unique(deep)) > 4 * len(np.unique(usual))
    blue, green, red = cv2.split(cv2.imdecode(np.frombuffer(to_png(deep), np.uint8), cv2.IMREAD_UNCHANGED))
    assert not blue.any()
    np.testing.assert_array_equal(red.astype(np.uint16) << 8 | green, deep)


def test_a_radiograph_that_is_gone_leaves_the_patches(archive: tuple[PreparedDataset, Path], tmp_path: Path) -> None:
    dataset, _ = archive
    (tmp_path / "others").mkdir()
    shown = Pictures(dataset, tmp_path)[dataset.manifest.ids[0]]
    assert not shown.full and shown.mm_per_px == pytest.approx(MM_PER_PX)


def test_a_picture_of_unknown_scale_has_no_boxes(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/0.png").write_bytes(to_png(np.arange(64, dtype=np.uint8).reshape(8, 8)))
    write_prepared(tmp_path / "data", table(1), pairs(2), source="elsewhere", options={})
    dataset = PreparedDataset.open(tmp_path / "data")
    shown = Pictures(dataset, tmp_path / "images")[dataset.manifest.ids[0]]
    assert shown.full and shown.mm_per_px is None and shown.medial is None
