"""The encoder that ships, against the network whose weights it has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kneeal.nn import knee_encoder
from kneeal.nn.knee_encoder import KneeEncoder
from tools import make_knee_encoder as tool

WEIGHTS = Path(knee_encoder.__file__).with_name("knee_encoder.safetensors")


def shipped() -> KneeEncoder:
    encoder = KneeEncoder().eval()
    encoder.load_state_dict({name: weight.float() for name, weight in load_file(WEIGHTS).items()})
    return encoder


def patches(n: int = 2, side: int = 128) -> torch.Tensor:
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_exposure_of_a_patch_changes_little() -> None:
    encoder, x = shipped(), patches()
    with torch.no_grad():
        features = encoder(x)
        assert features.shape == (2, encoder.n_features) and features.std() > 0.1
        darker = encoder(0.6 * x - 0.3)
        assert (darker - features).abs().max() < 0.1 * features.abs().max()
        assert (encoder(x.flip(0)).flip(0) - features).abs().max() < 1e-5, "each patch on its own"


def test_the_file_is_small_and_its_license_lies_beside_it() -> None:
    assert WEIGHTS.stat().st_size < 10 * 2**20
    assert "Apache License" in WEIGHTS.with_name("knee_encoder.LICENSE").read_text()


def test_it_computes_what_the_first_blocks_of_the_published_network_do(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    # timm lists the same layers in the same order under names of its own.
    blocks = [len(stage) for stage in theirs.blocks]
    published = {}
    for name, weight in theirs.state_dict().items():
        parts = name.split(".")
        if parts[0] in ("conv_stem", "bn1"):
            published[{"conv_stem": "_conv_stem", "bn1": "_bn0"}[parts[0]] + "." + parts[1]] = weight
        elif parts[0] == "blocks":
            number, stage = sum(blocks[: int(parts[1])]) + int(parts[2]), int(parts[1])
            names = {"conv_dw": "_depthwise_conv", "conv_pwl": "_project_conv", "conv_pw": "_expand_conv"}
            names |= {"bn1": "_bn0", "bn2": "_bn1", "bn3": "_bn2"}
            if stage == 0:  # the first block does not expand
                names |= {"conv_pw": "_project_conv", "bn1": "_bn1", "bn2": "_bn2"}
            published[f"_blocks.{number}.{names[parts[3]]}.{parts[4]}"] = weight
    # Random layers make more of the rounding to 16 bits than trained ones.
    monkeypatch.setattr(torch.Tensor, "half", lambda weight: weight)
    # Beyond the border, theirs has the mean color and ours the mean of the patch: the same gray here.
    monkeypatch.setattr(tool, "MEAN", torch.full((3,), tool.CENTER))
    encoder, x = tool.convert(published), patches()
    with torch.no_grad():
        standard = (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + 0.04)
        rgb = standard * tool.SPREAD + tool.CENTER
        y = theirs.bn1(theirs.conv_stem((rgb - tool.MEAN[:, None, None]) / tool.STD[:, None, None]))
        for stage in theirs.blocks[:5]:
            y = stage(y)
        deep = theirs.blocks[5][1](theirs.blocks[5][0](y))
        halves = y[:, :, 2:6].unflatten(3, (2, 4)).mean((2, 4)).flatten(1)
        expected = torch.cat([halves, deep[:, :, 1:3].mean((2, 3))], 1)
        assert (encoder.means(x) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_the_projection_keeps_what_differs_between_patches_and_not_between_their_views() -> None:
    draw = torch.Generator().manual_seed(0)
    # Three directions tell patches apart; a fourth is the widest, but differs as much between views of a patch.
    mixed = torch.linalg.qr(torch.randn(6, 6, generator=draw))[0]
    own = torch.randn(4000, 6, generator=draw) * torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    shaken = torch.tensor([0.1, 0.1, 0.1, 5.0, 0.1, 0.1])
    views = [5.0 + (own + shaken * torch.randn(4000, 6, generator=draw)) @ mixed.T for _ in range(3)]
    weight, bias = tool.projection(views, 3, 0.01)
    features = views[0] @ weight.T + bias
    assert features.mean(0).abs().max() < 1e-3 and abs(features.var(0).mean() - 1) < 1e-3
    from_view = views[1] @ weight.T + bias
    assert torch.corrcoef(torch.cat([features, from_view], 1).T)[:3, 3:].diagonal().min() > 0.95
    # Turned, so that standardizing each feature changes little.
    assert features.var(0).max() < 1.2
