from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from kneeal.data.folder import prepare_folder
from kneeal.data.prepared import PreparedDataset
from kneeal.errors import UserError


def knee(path: Path, side: str, px: int = 224) -> None:
    """A bright disc on the lateral side, where the fibula is: the right of the picture for a left knee."""
    image = np.tile(np.linspace(60, 140, px), (px, 1)).astype(np.uint8)
    cv2.circle(image, (round(px * (0.85 if side == "L" else 0.15)), px // 2), 12, 255, -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imencode(".png", image)[1].tofile(path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for split, patients in {"train": (1, 2, 3), "val": (4,)}.items():
        for patient in patients:
            for side in "LR":
                knee(tmp_path / "src" / split / str(patient % 5) / f"900000{patient}{side}.png", side)
    return tmp_path / "src"


def test_the_public_layout_becomes_a_data_set(source: Path, tmp_path: Path) -> None:
    summary = prepare_folder(source, tmp_path / "out")
    dataset = PreparedDataset.open(tmp_path / "out", verify=True)
    assert dataset.manifest.kl == {f"900000{p}_{s}": p % 5 for p in (1, 2, 3, 4) for s in "LR"}
    assert [dataset.manifest.given_splits[f"900000{p}_L"] for p in (1, 2, 3, 4)] == ["train"] * 3 + ["test"]
    assert "val is the test set" in str(summary)
    assert summary.counts[("train", 1)] == 2
    medial, lateral = (dataset.patches[:, k].astype(int) for k in (0, 1))
    assert (lateral.max(axis=(1, 2)) == 255).all(), "the fibula is in the lateral patch of every knee"
    assert np.abs(np.diff(lateral, axis=0)).mean() < 8 * np.abs(medial).mean()


def test_a_test_folder_and_a_validation_folder_stay_what_they_are(source: Path, tmp_path: Path) -> None:
    knee(source / "test" / "0" / "9000009L.png", "L")
    knee(source / "auto_test" / "0" / "9000009L_1.png", "L")
    summary = prepare_folder(source, tmp_path / "out")
    assert set(PreparedDataset.open(tmp_path / "out").manifest.given_splits.values()) == {"train", "val", "test"}
    assert "auto_test is left out: 1 pictures" in str(summary)


def test_folders_of_grades_alone_leave_the_split_open(tmp_path: Path) -> None:
    knee(tmp_path / "src" / "3" / "p\u00e4r_L.png", "L")
    prepare_folder(tmp_path / "src", tmp_path / "out")
    manifest = PreparedDataset.open(tmp_path / "out").manifest
    assert manifest.ids == ("p\u00e4r_L",)
    assert manifest.given_splits == {"p\u00e4r_L": ""}


def empty(source: Path) -> None:
    (source / "train/1/9000001L.png").write_bytes(b"")


def truncated(source: Path) -> None:
    path = source / "train/1/9000001L.png"
    path.write_bytes(path.read_bytes()[:60])


def coloured(source: Path) -> None:
    image = np.zeros((224, 224, 3), np.uint8)
    image[..., 1] = 90
    cv2.imencode(".png", image)[1].tofile(source / "train/1/9000001L.png")


def misnamed(source: Path) -> None:
    (source / "train/1/9000001L.png").rename(source / "train/1/left.png")


def misplaced(source: Path) -> None:
    (source / "train/1").rename(source / "train/7")


def torn(source: Path) -> None:
    knee(source / "val/1/9000001R.png", "R")
    (source / "train/1/9000001R.png").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (empty, "9000001L.png cannot be read"),
        (truncated, "9000001L.png cannot be read"),
        (coloured, "in colour"),
        (misnamed, "train/1/left.png"),
        (misplaced, "train/7/9000001L.png"),
        (torn, "patients in two splits: 9000001"),
    ],
)
def test_bad_pictures_are_named_and_nothing_is_left(source: Path, tmp_path: Path, damage: object, message: str) -> None:
    damage(source)  # type: ignore[operator]
    with pytest.raises(UserError, match=message):
        prepare_folder(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_an_impossible_scale_and_an_empty_folder_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--roi-mm 0"):
        prepare_folder(source, tmp_path / "out", roi_mm=0.0)
    with pytest.raises(UserError, match="must span at least 94 mm"):
        prepare_folder(source, tmp_path / "out", roi_mm=50.0)
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match="no picture in"):
        prepare_folder(tmp_path / "bare", tmp_path / "out")
    with pytest.raises(UserError, match="no folder"):
        prepare_folder(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(UserError, match="--test-split fold1"):
        prepare_folder(source, tmp_path / "out", test_split="fold1")


def test_a_link_that_loops_is_not_followed(source: Path, tmp_path: Path) -> None:
    (source / "train" / "loop").symlink_to(source, target_is_directory=True)
    prepare_folder(source, tmp_path / "out")
    assert len(PreparedDataset.open(tmp_path / "out").manifest) == 8


def test_real_knees(shared_data: Path, tmp_path: Path) -> None:
    """The first patients of the public set: mean patches show the joint, dark, near the middle, alike on all sides."""
    source = tmp_path / "src"
    for grade in range(5):
        for path in sorted((shared_data / "oai_knees/train" / str(grade)).iterdir())[:40]:
            target = source / "train" / str(grade) / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    prepare_folder(source, tmp_path / "out")
    dataset = PreparedDataset.open(tmp_path / "out")
    left = np.array([i.endswith("L") for i in dataset.manifest.ids])
    for side in (left, ~left):
        for compartment in (0, 1):
            profile = dataset.patches[side, compartment][:, :, 30:80].mean(axis=(0, 2))
            smooth = np.convolve(profile, np.ones(31) / 31, "same")
            joint = 25 + int(np.argmin((profile - smooth)[25:103]))
            assert 52 < joint < 84
