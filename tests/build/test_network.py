"""A backbone of torchvision from the command line: fit, first weights, model file, predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from helpers.commands import QUICK, done, kneeal, refused
from helpers.knees import table

from kneeal.build.network import bare_network, make_network
from kneeal.config import validate
from kneeal.data.prepared import write_prepared
from kneeal.exchange.model_file import read_model

#: One fit: a checkpoint of this network with its optimizer takes 134 MB.
RESNET = ("--set", "model.backbone=resnet18", "--set", "data.patch_size=32", "--set", "active.budget=6")


def dataset(path: Path) -> Path:
    patches = np.random.default_rng(0).integers(0, 256, (40, 2, 32, 32), np.uint8)
    write_prepared(path, table(20), patches, source="test", options={}, patch_px=32)
    return path


def test_fit_export_predict_and_init_with_resnet18(tmp_path: Path) -> None:
    data, run, model = dataset(tmp_path / "data"), tmp_path / "run", tmp_path / "m.safetensors"
    config = validate({"model": {"backbone": "resnet18"}})
    first = bare_network(config).branch.model.state_dict()
    torch.save(first, tmp_path / "first.pth")
    weights = ("--set", f"model.weights={tmp_path / 'first.pth'}")
    done("fit", "--data", data, "--out", run, "--strategy", "mi_mcd", *QUICK, *RESNET, *weights)
    checkpoint = run / "rounds/000/best.ckpt"
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    # A step of Adam moves a weight by the learning rate at most: the fit began at the file's weights.
    moved = (saved["network.branch.model.conv1.weight"] - first["conv1.weight"]).abs().max()
    assert 0 < moved < 0.005
    # The model file stands alone: the file of first weights is gone.
    (tmp_path / "first.pth").unlink()
    done("export", run, "--out", model, "--samples", "2")
    assert "weights" not in read_model(model)[1].network and read_model(model)[1].network["backbone"] == "resnet18"
    done("predict", model, "--data", data, "--out", tmp_path / "predictions")
    assert len((tmp_path / "predictions/predictions.csv").read_text().splitlines()) == 41
    for weights, message in ((model, f"--init {model}"), (Path(__file__), "torch did not write this file")):
        options = (*RESNET, "--set", f"model.weights={weights}")
        refused(kneeal("fit", "--data", data, "--out", tmp_path / "no", *QUICK, *options), message)
    network = make_network(validate({"model": {"backbone": "resnet18"}, "training": {"init": str(checkpoint)}}))
    assert all(torch.equal(w, saved[f"network.branch.{name}"]) for name, w in network.branch.state_dict().items())


def test_mistakes_are_said_before_anything_is_trained(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    for settings, message in (
        (["model.backbone=resnet_18"], "resnet18"),
        (["model.backbone=squeezenet1_1", "data.patch_size=16"], "data.patch_size=24"),
        (["model.backbone=shufflenet_v2_x0_5", "model.weights=none.pth"], "none.pth"),
        (["model.weights=none.pth"], "set model.backbone"),
        (["training.learning_rate=0.1"], "training.learning_rate=0.001"),
    ):
        options = [part for setting in settings for part in ("--set", setting)]
        result = kneeal("fit", "--data", data, "--out", tmp_path / "run", "--strategy", "mi_mcd", *QUICK, *options)
        refused(result, message)
        assert not list((tmp_path / "run").glob("rounds/*"))
