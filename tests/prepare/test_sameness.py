"""One picture in two files is recognized, whatever was done to it; two knees are never called one."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.archive import radiograph_header
from helpers.commands import done

from kneeal.data.patches import cut_patch_pair, scale_intensities
from kneeal.data.prepared import PreparedDataset
from kneeal.prepare.folder import prepare_folder, read_gray
from kneeal.prepare.pictures import FolderOptions
from kneeal.prepare.sameness import fingerprint, same_knees
from tools.radiographs import RadiographOptions, draw_radiograph

MM = 0.4


def shifted(gray: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(gray, np.float32([[1, 0, 2], [0, 1, 2]]), gray.shape[::-1], borderMode=cv2.BORDER_REFLECT)


CHANGES = {
    "jpeg": lambda gray: cv2.imdecode(cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], 0),
    "brighter": lambda gray: np.uint8(255 * (gray / 255) ** 0.5),
    "darker": lambda gray: np.uint8(255 * (gray / 255) ** 2),
    "half": lambda gray: cv2.resize(gray, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "window": lambda gray: np.uint8(np.clip((np.float64(gray) - 10) / 230, 0, 1) * 255),
    "16 bit": lambda gray: np.uint16(gray) * 200 + 3000,
    "shifted": shifted,
}


def pair(gray: np.ndarray, side: str = "R") -> np.ndarray:
    return cut_patch_pair(scale_intensities(gray), 101 / gray.shape[1], side, joint_offset_mm=3.0)


def groups(*pairs: np.ndarray) -> list[list[int]]:
    return same_knees([fingerprint(p) for p in pairs], pairs.__getitem__)


def knee(patient: int, side: str = "R") -> np.ndarray:
    """A drawn knee as a picture of 252 x 252 px, 101 mm wide."""
    radiograph = draw_radiograph(patient, 8, RadiographOptions(mm_per_px=MM, texts=0, max_rotation_deg=0))
    x, y = next(k.center_mm for k in radiograph.knees if k.side == side)
    left, top = round((x - 50.5) / MM), round((y - 50.5) / MM)
    return scale_intensities(radiograph.gray[top : top + 252, left : left + 252])


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_is_recognized_and_its_mirror_image_too(change: str) -> None:
    one, another = knee(1), CHANGES[change](knee(1))
    pairs = [pair(knee(2)), pair(one), pair(knee(1, "L"), "L"), pair(another), pair(another[:, ::-1], "L")]
    assert groups(*pairs, pair(another, "L"), pair(another[:, ::-1])) == [[1, 3, 4, 5, 6]]


def test_pictures_without_detail_are_not_one() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 2, 128, 128), np.uint8)
    noise[:, :, 8:] = 255
    assert groups(*noise, np.zeros_like(noise[0])) == [] == groups()


def test_many_copies_are_one_group() -> None:
    first, second = pair(knee(1)), pair(knee(2))
    assert groups(*[first, second] * 200) == [list(range(0, 400, 2)), list(range(1, 400, 2))]


def test_real_knees_are_told_apart_and_recognized(shared_data: Path) -> None:
    files = sorted((shared_data / "oai_knees" / "val").rglob("*.png"))
    pictures = [read_gray(path) for path in files]
    pairs = [pair(gray, path.stem[-1]) for path, gray in zip(files, pictures, strict=True)]
    assert len(pairs) == 826 and groups(*pairs) == []
    n, missed = 20, {}
    for name, change in CHANGES.items():
        again = [pair(change(gray), path.stem[-1]) for path, gray in zip(files[:n], pictures, strict=False)]
        missed[name] = [k for k in range(n) if [k, k + n] not in groups(*pairs[:n], *again)]
    assert missed == {name: [] for name in CHANGES}


def test_a_folder_tells_or_drops_pictures_that_were_saved_again(tmp_path: Path) -> None:
    for name, gray in (
        ("train/1/a_R.png", knee(1)), ("test/1/b_R.jpg", knee(1)), ("train/0/c_L.png", knee(2)[:, ::-1]),
        ("train/2/c_R.png", CHANGES["half"](knee(2))), ("train/3/d_R.png", knee(3)),
    ):  # fmt: skip
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / name), gray)
    (note, *_) = prepare_folder(tmp_path / "in", tmp_path / "out").notes
    assert "4 files hold 2 pictures more than once (1 of them in two splits, 1 under two grades)" in note
    assert "train/0/c_L.png = train/2/c_R.png; train/1/a_R.png = test/1/b_R.jpg" in note or (
        "train/0/c_L.png = train/2/c_R.png; test/1/b_R.jpg = train/1/a_R.png" in note
    )
    prepare_folder(tmp_path / "in", tmp_path / "dropped", FolderOptions(drop_duplicates=True))
    assert sorted(PreparedDataset.open(tmp_path / "dropped", verify=True).manifest.ids) == ["b_R", "d_R"]


def test_a_radiograph_exported_under_another_patient_is_named_with_the_rows(tmp_path: Path) -> None:
    radiograph = draw_radiograph(3, 3, RadiographOptions(mm_per_px=MM, texts=0, max_rotation_deg=3, max_shift_mm=5))
    other = draw_radiograph(4, 3, RadiographOptions(mm_per_px=MM, texts=0, max_rotation_deg=3, max_shift_mm=5))
    (tmp_path / "in").mkdir()
    for name, drawn in (("a.dcm", radiograph), ("c.dcm", other)):
        radiograph_header(drawn.gray, MM, patient=name).save_as(tmp_path / "in" / name, enforce_file_format=True)
    gray = np.rint(255 * np.clip(radiograph.gray / radiograph.gray.max(), 0, 1) ** 0.7).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "in/b.jpg"), gray)
    (tmp_path / "t.csv").write_text("path,patient,KL_R,KL_L\na.dcm,A,1,2\n\nc.dcm,C,0,0\nb.jpg,B,3,2\n")
    said = done("prepare", "dicom", tmp_path / "in", "--out", tmp_path / "out", "--table", tmp_path / "t.csv",
                "--mm-per-px", MM, "--workers", "0")  # fmt: skip
    assert "6 knees from 3 radiographs" in said
    assert "2 knees given for several patients or both sides (0 of them in two splits, 1 under two grades): " in said
    assert (
        "A (a.dcm, line 2), R KL 1 = B (b.jpg, line 5), R KL 3; A (a.dcm, line 2), L KL 2 = B (b.jpg, line 5)" in said
    )
    assert list(csv.DictReader((tmp_path / "out/rejected.csv").open(encoding="utf-8"))) == []
