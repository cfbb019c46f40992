"""The training script end to end, at a size that teaches nothing, and the samples that it learns from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kneeal.localizer.networks import MARKER_CLASSES, METAL_PX, NAMES, NATURAL, NO_KNEE, REPLACED, load_networks
from tools.localizer import letter_samples, samples, train
from tools.localizer.checkpoints import read_networks
from tools.localizer.letter_samples import SEEN, letter_windows
from tools.localizer.metal_samples import collect_metal
from tools.localizer.samples import MarkedPicture
from tools.radiographs import RadiographOptions, draw_leg, draw_radiograph

TINY = ["--radiographs", "6", "--steps", "2", "3", "2", "2"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for k, side in enumerate("LR"):
        cv2.imwrite(str(folder / f"900{k}{side}.png"), cv2.resize(draw_leg(k, side, 5).picture, (224, 224)))
    return folder


def test_it_runs_from_nothing_to_weights_and_goes_on_from_what_is_finished(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    common = [*TINY, "--pictures", str(pictures), "--work", str(tmp_path / "work")]
    train.main(["--out", str(tmp_path / "a.npz"), *common])
    said = capsys.readouterr().out
    assert "marker 2/2" in said and "plateaus marked" in said and "wrote" in said
    assert {p.name for p in (tmp_path / "work").rglob("*.npz")} == {
        "first.npz", "fine-first.npz", "plateaus.npz", "samples.npz", "marker.npz", "coarse.npz", "fine.npz",
        "knees.npz", "metal.npz",
    }  # fmt: skip
    load_networks(tmp_path / "a.npz")
    # A run that was killed before its last network: what is finished is not trained again, and the rest is.
    for name in ("fine.npz", "a.npz"):
        next(tmp_path.rglob(name)).unlink()
    monkeypatch.setattr(train, "train_marker", None)
    train.main(["--out", str(tmp_path / "b.npz"), *common])
    assert "marker" not in capsys.readouterr().out.replace("plateaus marked", "")
    before, after = _states(), _states(tmp_path / "b.npz")
    assert before.keys() == after.keys()
    # Other options do not use the same folder.
    with pytest.raises(TypeError):
        train.main(["--out", str(tmp_path / "c.npz"), *common, "--seed", "3"])


def test_one_network_alone_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    train.main(["--out", str(tmp_path / "a.npz"), *TINY, "--only", "marker"])
    before, after = _states(), _states(tmp_path / "a.npz")
    same = {name: all(torch.equal(v, after[k]) for k, v in before.items() if k.startswith(name)) for name in NAMES}
    assert same == {"coarse": True, "fine": True, "marker": False, "metal": True}


def _states(path: Path | None = None) -> dict[str, torch.Tensor]:
    return {f"{name}/{k}": v for name, network in read_networks(path).items() for k, v in network.state_dict().items()}


def test_samples_show_knees_metal_and_what_is_no_knee(pictures: Path) -> None:
    paths = samples.real_pictures(pictures)
    plateau = np.array([(-35.0, 8.0), (35.0, 4.0)])
    found = samples.collect(30, 4, [MarkedPicture(path, plateau) for path in paths], n_legs=6)
    natural, replaced, nothing = (found["kinds"] == kind for kind in (NATURAL, REPLACED, NO_KNEE))
    assert min(natural.sum(), replaced.sum(), nothing.sum()) >= 8
    # A plateau is known where there is a natural knee, and nowhere else.
    assert np.array_equal(~np.isnan(found["points"]).any(axis=(1, 2)), natural)
    widths = np.hypot(*np.diff(found["points"][natural], axis=1)[:, 0].T)
    assert 40 < widths.min() < 0.9 * widths.max() < 100
    n_knees = (~np.isnan(found["knees"][..., 0])).sum(axis=1)
    assert set(n_knees) == {0, 1, 2} and len(found["coarse"]) == 30


def test_metal_is_bright_where_its_mask_says_so(pictures: Path) -> None:
    marked = [MarkedPicture(p, np.array([(-35.0, 8.0), (35.0, 4.0)])) for p in samples.real_pictures(pictures)]
    found = collect_metal(12, 3, marked)
    windows, masks = found["windows"], found["masks"]
    assert windows.shape == (24, METAL_PX, METAL_PX) and masks.shape == (24, METAL_PX // 2, METAL_PX // 2)
    shown = (masks > 128).mean(axis=(1, 2))
    assert (shown == 0).any() and 0.01 < shown.max() < 0.6
    for window, mask in zip(windows[shown > 0.01], masks[shown > 0.01], strict=True):
        small = cv2.resize(window, mask.shape, interpolation=cv2.INTER_AREA)
        assert np.median(small[mask > 128]) > np.median(small[mask == 0])


def test_a_marked_picture_is_mirrored_with_its_plateau(pictures: Path) -> None:
    path = next(path for path in samples.real_pictures(pictures) if path.stem[-1] == "R")
    marked = MarkedPicture(path, np.array([(-30.0, 8.0), (38.0, 4.0)]))
    right, left = marked.leg("R"), marked.leg("L")
    assert np.array_equal(right.picture, left.picture[:, ::-1])
    assert np.array_equal(right.plateau, marked.plateau) and left.plateau.tolist() == [[-38, 4], [30, 8]]


def test_letters_that_cannot_be_seen_are_not_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    radiograph = draw_radiograph(0, 9, RadiographOptions(mm_per_px=0.6))
    windows, kinds = letter_windows(radiograph, 60, np.random.default_rng(0))
    assert set(kinds) == set(range(len(MARKER_CLASSES)))
    center = (radiograph.gray.shape[1] // 2, radiograph.gray.shape[0] // 2)
    monkeypatch.setattr(letter_samples, "_spot", lambda *_: center)
    white = np.zeros_like(radiograph.gray)
    white[9:-9, 9:-9] = 1
    _, none = letter_windows(replace(radiograph, gray=white, markers=()), 40, np.random.default_rng(0))
    assert set(none) == {MARKER_CLASSES.index("")}
    letters = [w for w, kind in zip(windows, kinds, strict=True) if MARKER_CLASSES[kind]]
    assert all(int(window.max()) - int(window.min()) >= SEEN for window in letters)
