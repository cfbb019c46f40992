"""Which colors are gray: tints, frames and marks, and neither photographs nor color maps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.archive import radiograph_header
from matplotlib import cbook, colormaps
from PIL import Image

from kneeal.data.patches import scale_intensities
from kneeal.radiograph import RadiographError, ReadOptions, read_radiograph
from tools.radiographs import RadiographOptions, draw_radiograph

GRAY = draw_radiograph(1, 1, RadiographOptions(mm_per_px=0.8, texts=0, max_rotation_deg=5, max_shift_mm=10)).gray
#: One hue over all grays: bluish film, yellowed paper, greenish glass, a violet that is strongest in the middle.
TINTS = {"film": (0.78, 0.9, 1), "paper": (1, 0.9, 0.72), "glass": (0.85, 1, 0.9), "violet": None}


def tinted(gray: np.ndarray, tint: tuple[float, float, float] | None) -> np.ndarray:
    """A picture [H, W, 3] of a gray in [0, 1], with the noise of a JPEG."""
    bent = gray * (1 - gray)
    channels = gray[..., None] * np.array(tint) if tint else np.dstack([gray, gray - 0.7 * bent, gray + 0.3 * bent])
    noise = np.random.default_rng(0).normal(0, 2, channels.shape)
    return np.clip(np.rint(255 * channels + noise), 0, 255).astype(np.uint8)


def save_colors(path: Path, pixels: np.ndarray, kind: str) -> None:
    if kind == "dicom":
        header = radiograph_header(np.zeros(pixels.shape[:2]), 0.2, patient="1")
        header.SamplesPerPixel, header.PhotometricInterpretation, header.PlanarConfiguration = 3, "RGB", 0
        header.BitsAllocated, header.BitsStored, header.HighBit = 8, 8, 7
        header.PixelData = pixels.tobytes()
        header.save_as(path, enforce_file_format=True)
    else:
        whole = pixels if kind == "picture" else pixels.astype(np.uint16) * 257
        path.write_bytes(cv2.imencode(".png", whole[..., ::-1])[1].tobytes())


@pytest.mark.parametrize("kind", ["picture", "16 bit", "dicom"])
@pytest.mark.parametrize("tint", TINTS)
def test_a_tint_is_gray(tmp_path: Path, tint: str, kind: str) -> None:
    save_colors(tmp_path / "x", tinted(GRAY, TINTS[tint]), kind)
    found = read_radiograph(tmp_path / "x", ReadOptions(mm_per_px=0.2)).gray.astype(int)
    expected = scale_intensities(np.rint(255 * GRAY).astype(np.uint8)).astype(int)
    assert np.median(np.abs(found - expected)) <= 6
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


def test_a_frame_and_a_mark_on_a_tint_count_in_no_percentile(tmp_path: Path) -> None:
    plain, marked = tinted(GRAY, TINTS["film"]), tinted(GRAY, TINTS["film"])
    marked[:4], marked[20:40, 20:40] = (255, 0, 0), (255, 255, 0)
    for name, pixels in (("plain", plain), ("marked", marked)):
        save_colors(tmp_path / name, pixels, "picture")
    found, expected = (
        read_radiograph(tmp_path / name, ReadOptions(mm_per_px=0.2)).gray.astype(int) for name in ("marked", "plain")
    )
    assert np.median(np.abs(found - expected)[50:]) <= 1


def in_colors(what: str) -> np.ndarray:
    """A picture [H, W, 3] in color: noise, a photograph, a radiograph in a color map or under a colored heat map."""
    if what == "noise":
        return np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    if what == "photograph":
        with cbook.get_sample_data("grace_hopper.jpg") as file:
            return np.asarray(Image.open(file))
    if what == "chart":
        return np.repeat(255 * colormaps["tab10"](np.arange(120) // 12)[None, :, :3], 90, axis=0).astype(np.uint8)
    if what.startswith("over "):
        rows, columns = np.mgrid[-1 : 1 : GRAY.shape[0] * 1j, -1 : 1 : GRAY.shape[1] * 1j]
        heat = colormaps[what.removeprefix("over ")](np.exp(-3 * (rows**2 + columns**2)))[..., :3]
        return np.rint(255 * (0.6 * GRAY[..., None] + 0.4 * heat)).astype(np.uint8)
    return np.rint(255 * colormaps[what](GRAY)[..., :3]).astype(np.uint8)


@pytest.mark.parametrize("kind", ["picture", "16 bit", "dicom"])
@pytest.mark.parametrize(
    "what", ["noise", "photograph", "chart", "jet", "hot", "viridis", "copper", "over jet", "over viridis", "over hot"]
)
def test_a_picture_in_color_is_refused(tmp_path: Path, what: str, kind: str) -> None:
    save_colors(tmp_path / "x", in_colors(what), kind)
    with pytest.raises(RadiographError) as caught:
        read_radiograph(tmp_path / "x", ReadOptions(mm_per_px=0.2))
    assert caught.value.reason == "color"
