"""Branches cut into a frozen part and a trained one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from kneeal.errors import UserError
from kneeal.nn.backbones import Backbone
from kneeal.nn.freezing import FrozenEncoder, Standardize, cut
from kneeal.nn.mc_dropout import MonteCarloDropout
from kneeal.nn.network import SiameseKneeNet

SMALL = "shufflenet_v2_x0_5"
#: Backbone, stage, and a layer on each side of it.
CUTS = [
    ("vgg_like", "group2", "2.0.weight", "4.0.weight"),
    ("resnet18", "layer3", "model.layer3.0.conv1.weight", "model.layer4.0.conv1.weight"),
    ("mobilenet_v3_small", "features.8", "model.features.8.block.0.0.weight", "model.features.9.block.0.0.weight"),
    (SMALL, "stage3", "model.stage3.0.branch1.0.weight", "model.stage4.0.branch1.0.weight"),
]


def knees(n: int = 3, side: int = 32) -> torch.Tensor:
    return torch.rand(n, 2, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def network(backbone: str = "vgg_like", freeze: str = "none") -> SiameseKneeNet:
    torch.manual_seed(0)
    return SiameseKneeNet(backbone=backbone, width=2, freeze=freeze)


def test_activations_of_a_knee_do_not_depend_on_what_is_encoded_beside_it() -> None:
    encoder = network("knee_encoder", "all").encoder
    patches, threads = knees(45, 128), torch.get_num_threads()
    together = encoder(patches)
    for n in (1, 3, 8, 17, 40):
        for part in torch.split(patches, n)[-2:]:
            where = (patches == part[0]).all((1, 2, 3)).nonzero().item()
            assert torch.equal(encoder(part), together[where : where + len(part)])
    try:
        torch.set_num_threads(3 - min(threads, 2))
        assert torch.equal(encoder(patches), together)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("backbone", "stage", "before", "behind"), CUTS)
def test_both_parts_compute_what_the_whole_does(backbone: str, stage: str, before: str, behind: str) -> None:
    whole, parts = network(backbone).eval(), network(backbone, stage).eval()
    with torch.no_grad():
        expected = whole(knees())
        activations = parts.encoder(knees())
        assert activations.shape[:2] == (3, 2) and activations.ndim == 5
        for given in (knees(), activations):
            output = parts(given)
            torch.testing.assert_close(output.features, expected.features, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(output.logits, expected.logits, rtol=1e-4, atol=1e-5)
    names = {name.removeprefix("branch.") for name, _ in parts.named_parameters()}
    assert behind in names and before not in names
    assert set(parts.state_dict()) - {"encoder_checksum"} < set(whole.state_dict())
    assert whole.state_dict().keys() == parts.whole_state().keys()


def test_a_whole_branch_is_frozen_with_its_own_dropout_off_and_its_statistics_kept() -> None:
    net = network(SMALL, "all").train()
    first = net.encoder(knees())
    assert first.shape == (3, 2, 1024) and not first.requires_grad
    assert torch.equal(net.encoder(knees()), first)
    assert [name for name, _ in net.named_parameters()] == ["classifier.weight"]
    own = network("vgg_like", "all").train()
    torch.testing.assert_close(own.encoder(knees())[:1], own.encoder(knees()[:1]))
    net(first).logits.sum().backward()  # the head alone is trained
    assert net.classifier.weight.grad is not None


def test_copies_share_what_is_frozen() -> None:
    net = network(SMALL, "all")
    assert copy.deepcopy(net).encoder is net.encoder
    assert copy.deepcopy(net).classifier is not net.classifier


@pytest.mark.parametrize("freeze", ["all", "layer4"])
def test_the_whole_state_brings_a_frozen_network_back(freeze: str) -> None:
    net = network("resnet18", freeze)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.01)
        if isinstance(net.standardize, Standardize):
            net.standardize.fit(net.encoder(knees(5)).flatten(1))
    torch.manual_seed(5)
    other = SiameseKneeNet(backbone="resnet18", freeze=freeze)
    other.load_whole_state(net.whole_state())
    with torch.no_grad():
        torch.testing.assert_close(other.eval()(knees()).logits, net.eval()(knees()).logits)
    cut_short = {name: w for name, w in net.whole_state().items() if "layer1.0.conv1" not in name}
    with pytest.raises(RuntimeError, match=r"layer1\.0\.conv1"):
        other.load_whole_state(cut_short)
    torch.manual_seed(6)
    with pytest.raises(RuntimeError, match="another frozen encoder"):
        SiameseKneeNet(backbone="resnet18", freeze=freeze).load_state_dict(net.state_dict())


def test_the_checksum_is_of_weights_layers_and_stage() -> None:
    def checksum(backbone: str = SMALL, freeze: str = "all", change: float = 0.0) -> str:
        net = network(backbone)
        with torch.no_grad():
            next(net.branch.parameters()).flatten()[0] += change
        net.freeze(freeze)
        assert net.encoder is not None
        return net.encoder.checksum()

    assert checksum() == checksum()
    assert len({checksum(), checksum(change=1e-3), checksum(freeze="stage3"), checksum("resnet18")}) == 4


def test_monte_carlo_dropout_of_activations_is_that_of_patches() -> None:
    net = network(SMALL, "all")
    samples = MonteCarloDropout(net, 5, output=lambda output: output.logits)
    torch.testing.assert_close(samples(net.encoder(knees())), samples(knees()))


@pytest.mark.parametrize(("backbone", "stage"), [("resnet18", "layer2.0.conv1"), ("vgg_like", "layer1")])
def test_the_cure_of_a_wrong_stage_names_all_that_work_and_no_other(backbone: str, stage: str) -> None:
    with pytest.raises(
        UserError, match="cannot be cut"
    ) as wrong:  # a block of ResNet adds its own input to what follows
        network(backbone, stage)
    named = wrong.value.cure.removeprefix("use one of: ").split(", ")
    assert {"all", "layer4.1"} <= {*named} if backbone == "resnet18" else named == ["all", "group1", "group2", "group3"]
    for other in named:
        assert network(backbone, other)(knees()).logits.shape == (3, 5)


def test_a_backbone_that_takes_one_side_alone_is_cut_at_that_side() -> None:
    class OneSide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 2, 40), nn.Flatten()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.first(x)
            assert x.shape[-1] in (48, y.shape[-1]), "one side"  # or what is behind the cut
            result: torch.Tensor = self.last(y)
            return result

    backbone = Backbone(SMALL)
    backbone.model = OneSide()
    encoder, tail = cut(backbone, "first")
    patches = knees(2, 48)
    torch.testing.assert_close(tail(encoder(patches).flatten(0, 1)), backbone(patches.reshape(4, 1, 48, 48)))


def test_a_tail_that_changes_its_input_is_no_place_to_cut() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 1, 1), nn.ReLU(inplace=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.second(self.first(x))
            return result

    with pytest.raises(UserError, match="cannot be cut"):
        cut(InPlace(), "first")


def test_standardized_features_have_unit_length_on_average() -> None:
    x = torch.randn(500, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(8) + 3
    standardize = Standardize(8)
    standardize.fit(x)
    y = standardize(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(8), atol=1e-6, rtol=0)
    torch.testing.assert_close(y[:, 1:].square().mean(0), torch.full((7,), 1 / 8))
    assert y[:, 0].abs().max() < 1e-6, "a constant feature says nothing"


def test_the_encoder_restores_nothing_it_did_not_touch() -> None:
    branch = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    encoder = FrozenEncoder(branch, None)
    assert not branch[0].weight.requires_grad and not branch.training
    assert encoder(knees(2, 8)).shape == (2, 2, 72)
