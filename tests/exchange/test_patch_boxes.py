"""Where the patches lie on a picture, and how pictures are written."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.archive import radiograph_header
from hypothesis import given
from hypothesis import strategies as st

from kneeal.data.patches import MM_PER_PX, cut_patch_pair
from kneeal.errors import UserError
from kneeal.exchange.pictures import Box, patch_boxes, read_source, side_by_side, to_png


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


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_source_picture_is_shown_bone_white(tmp_path: Path, photometric: str) -> None:
    gray = np.tile(np.linspace(0.1, 0.9, 60, dtype=np.float32), (50, 1))
    header = radiograph_header(gray, 0.2, patient="p", number=int(photometric == "MONOCHROME1"))
    assert header.PhotometricInterpretation == photometric
    del header.PixelSpacing  # nothing is measured on what is only shown
    header.save_as(tmp_path / "radiograph.dcm", enforce_file_format=True)
    shown = read_source(tmp_path / "radiograph.dcm")
    assert shown.dtype == np.uint8 and shown.shape == gray.shape
    assert np.corrcoef(shown[0], gray[0])[0, 1] > 0.99
    (tmp_path / "radiograph.dcm").write_bytes((tmp_path / "radiograph.dcm").read_bytes()[:900])
    with pytest.raises(UserError, match="bytes of pixel data"):
        read_source(tmp_path / "radiograph.dcm")
    # Other pictures are shown as they were saved, 16 bit over its range.
    saved = np.rint(gray * 200).astype(np.uint8)
    (tmp_path / "knee.png").write_bytes(to_png(saved))
    np.testing.assert_array_equal(read_source(tmp_path / "knee.png"), saved)
    cv2.imwrite(str(tmp_path / "deep.png"), saved.astype(np.uint16) * 300)
    deep = read_source(tmp_path / "deep.png")
    assert (deep.min(), deep.max()) == (0, 255) and np.corrcoef(deep[0], gray[0])[0, 1] > 0.99


def test_a_png_holds_nothing_but_pixels() -> None:
    data = to_png(np.arange(64, dtype=np.uint8).reshape(8, 8))
    chunks, position = [], 8
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        chunks.append(data[position + 4 : position + 8])
        position += 12 + length
    assert set(chunks) <= {b"IHDR", b"IDAT", b"IEND"}
