"""Where the patches lie on the source picture, and what a reader sees where there is none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from knees import pairs, table

from kneeal.data.patches import MM_PER_PX, PATCH_PX, cut_patch_pair
from kneeal.data.pictures import Box, Pictures, patch_boxes, side_by_side, to_png
from kneeal.data.prepared import PreparedDataset, write_prepared


def crop(picture: np.ndarray, box: Box) -> np.ndarray:
    x, y = round(box.x), round(box.y)
    return picture[y : y + round(box.height), x : x + round(box.width)]


@given(st.integers(280, 420), st.sampled_from("LR"), st.floats(-10, 10))
def test_the_boxes_are_where_the_patches_are_cut(size: int, side: str, offset: float) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (size, size), np.uint8)
    pair = cut_patch_pair(picture, MM_PER_PX, side, joint_offset_mm=offset)
    medial, lateral = patch_boxes(picture.shape, MM_PER_PX, side, joint_offset_mm=offset)
    # In a left knee the lateral patch is mirrored, in a right knee the medial one.
    mirrored, plain = (lateral, medial) if side == "L" else (medial, lateral)
    order = [pair[1], pair[0]] if side == "L" else [pair[0], pair[1]]
    np.testing.assert_array_equal(crop(picture, mirrored)[:, ::-1], order[0])
    np.testing.assert_array_equal(crop(picture, plain), order[1])
    assert (medial.x < lateral.x) == (side == "L")


def test_the_boxes_scale_with_the_picture() -> None:
    once = patch_boxes((300, 300), MM_PER_PX, "R", joint_offset_mm=3)
    twice = patch_boxes((600, 600), MM_PER_PX / 2, "R", joint_offset_mm=3)
    for a, b in zip(once, twice, strict=True):
        assert (2 * a.x, 2 * a.y, 2 * a.width, 2 * a.height) == pytest.approx((b.x, b.y, b.width, b.height))


@pytest.mark.parametrize("side", ["L", "R"])
def test_the_patches_side_by_side_lie_as_in_the_picture(side: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8)
    boxes = patch_boxes(picture.shape, MM_PER_PX, side)
    shown = side_by_side(cut_patch_pair(picture, MM_PER_PX, side), side)
    assert shown.mm_per_px == pytest.approx(MM_PER_PX) and not shown.full
    for box, there in zip(boxes, (shown.medial, shown.lateral), strict=True):
        assert there is not None
        np.testing.assert_array_equal(crop(shown.pixels, there), crop(picture, box))


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
    (tmp_path / "images").mkdir()
    (tmp_path / "secret.png").write_bytes(to_png(np.arange(16, dtype=np.uint8).reshape(4, 4)))
    write_prepared(tmp_path / "data", rows, pairs(2), source="folder", options={})
    pictures = Pictures(PreparedDataset.open(tmp_path / "data"), tmp_path / "images")
    assert [pictures.source(i) for i in rows["knee_id"]] == [None, None]


def test_boxes_that_the_manifest_gives_come_first(tmp_path: Path) -> None:
    rows = table(1)
    for k, name in enumerate(f"{p}_{e}" for p in ("medial", "lateral") for e in "xywh"):
        rows[name] = str(k + 0.5)
    rows["mm_per_px"] = "0.2"
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images/0.png"), np.arange(2400, dtype=np.uint16).reshape(40, 60))
    write_prepared(tmp_path / "data", rows, pairs(2), source="dicom", options={})
    shown = Pictures(PreparedDataset.open(tmp_path / "data"), tmp_path / "images")[rows["knee_id"][0]]
    assert shown.medial == Box(0.5, 1.5, 2.5, 3.5) and shown.lateral == Box(4.5, 5.5, 6.5, 7.5)
    assert shown.mm_per_px == 0.2 and shown.pixels.dtype == np.uint8 and shown.pixels.max() == 255


def test_a_png_holds_nothing_but_pixels() -> None:
    data = to_png(np.arange(64, dtype=np.uint8).reshape(8, 8))
    chunks, position = [], 8
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        chunks.append(data[position + 4 : position + 8])
        position += 12 + length
    assert set(chunks) <= {b"IHDR", b"IDAT", b"IEND"}
