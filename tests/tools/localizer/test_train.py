"""The training script end to end, at a size that teaches nothing, and the samples that it learns from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kneeal.localizer.networks import MARKER_CLASSES, NAMES, load_networks
from tools.localizer import letter_samples, train
from tools.localizer.checkpoints import read_networks
from tools.localizer.letter_samples import SEEN, letter_windows
from tools.radiographs import RadiographOptions, draw_leg, draw_radiograph

TINY = ["--radiographs", "6", "--steps", "2", "3", "2"]


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
        "samples.npz", "marker.npz", "coarse.npz", "fine-first.npz", "fine.npz",
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
    assert same == {"coarse": True, "fine": True, "marker": False}


def _states(path: Path | None = None) -> dict[str, torch.Tensor]:
    return {f"{name}/{k}": v for name, network in read_networks(path).items() for k, v in network.state_dict().items()}


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
