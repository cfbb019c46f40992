from __future__ import annotations

import pytest
import torch
from torch import nn

from kneeal.nn.layers import LinePooling, make_pooling
from kneeal.nn.network import SiameseKneeNet


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_the_paper_network_has_its_number_of_parameters() -> None:
    assert count(SiameseKneeNet()) == 1_248_032
    assert count(SiameseKneeNet(pooling="vh")) == 1_248_032
    assert count(SiameseKneeNet(pooling="gap")) == 1_248_032 - 256 * 256


def test_the_branch_is_the_published_one() -> None:
    branch = SiameseKneeNet().branch
    convolutions = [m for m in branch.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [32] * 3 + [64] * 2 + [128] * 2 + [256] * 3
    assert [c.stride[0] for c in convolutions] == [1, 1, 1, 2, 1, 2, 1, 2, 1, 1]
    assert all(c.bias is None for c in convolutions)
    kinds = [type(m).__name__ for m in branch]
    assert kinds == ["Sequential", "QuickDropout"] * 3 + ["Sequential", "LinePooling"]
    sizes = [x.shape[-1] for x in _maps(branch, 128)]
    assert sizes == [128, 64, 32, 16]


def _maps(branch: nn.Module, size: int) -> list[torch.Tensor]:
    x, maps = torch.randn(1, 1, size, size), []
    for module in branch:
        x = module(x)
        if isinstance(module, nn.Sequential):
            maps.append(x)
    return maps


@pytest.mark.parametrize("size", [8, 16, 24, 64])
@pytest.mark.parametrize("pooling", ["hv", "vh", "gap"])
def test_any_patch_size_divisible_by_eight_trains(size: int, pooling: str) -> None:
    network = SiameseKneeNet(width=2, pooling=pooling)
    output = network(torch.randn(3, 2, size, size))
    assert output.logits.shape == (3, 5)
    assert output.features.shape == (3, 2 * 16)
    output.logits.sum().backward()


@pytest.mark.parametrize("shape", [(3, 2, 12, 16), (3, 1, 16, 16), (2, 16, 16)])
def test_other_shapes_are_refused_with_the_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"divisible by 8 but got \("):
        SiameseKneeNet(width=2)(torch.zeros(shape))


def test_the_two_patches_share_one_branch_and_keep_their_places() -> None:
    network = SiameseKneeNet(width=2).eval()
    medial, lateral = torch.randn(2, 4, 16, 16)
    features = network(torch.stack([medial, lateral], dim=1)).features
    swapped = network(torch.stack([lateral, medial], dim=1)).features
    torch.testing.assert_close(features, torch.cat([swapped[:, 16:], swapped[:, :16]], dim=1))


def test_a_knee_is_graded_alike_alone_and_in_a_batch() -> None:
    network = SiameseKneeNet(width=2).eval()
    knees = torch.randn(5, 2, 16, 16)
    torch.testing.assert_close(network(knees).logits[2:3], network(knees[2:3]).logits)


def test_horizontal_vertical_pooling_is_the_transpose_of_vertical_horizontal() -> None:
    horizontal, vertical = make_pooling("hv", 6), make_pooling("vh", 6)
    vertical.load_state_dict(horizontal.state_dict())
    x = torch.randn(2, 6, 5, 7)
    torch.testing.assert_close(horizontal(x), vertical(x.transpose(2, 3)))


def test_line_pooling_against_its_definition() -> None:
    pooling = LinePooling(3, first_axis=3)
    x = torch.randn(2, 3, 4, 5)
    rows = torch.einsum("oi,nih->noh", pooling.mix[0].weight[:, :, 0, 0], x.max(dim=3).values)
    normed = (rows - rows.mean(2, keepdim=True)) / (rows.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
    expected = torch.where(normed > 0, normed, 0.2 * normed).max(dim=2).values
    torch.testing.assert_close(pooling(x), expected)


def test_first_weights_are_normal_with_a_deviation_of_two_percent() -> None:
    torch.manual_seed(0)
    weights = torch.cat([p.flatten() for p in SiameseKneeNet().parameters()])
    assert abs(float(weights.mean())) < 1e-4
    assert float(weights.std()) == pytest.approx(0.02, rel=5e-3)


@pytest.mark.parametrize("pooling", ["hv", "vh", "gap"])
def test_without_gradients_the_network_gives_the_same_by_another_order_in_memory(pooling: str) -> None:
    torch.manual_seed(0)
    network = SiameseKneeNet(width=3, pooling=pooling).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    patches, strides = torch.randn(4, 2, 32, 32), []
    expected = network(patches)
    for module in network.branch.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.register_forward_hook(lambda module, inputs, output: strides.append(output.stride(1)))
    with torch.no_grad():
        output = network(patches)
    assert set(strides) == {1}
    torch.testing.assert_close(output.logits, expected.logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(output.features, expected.features, atol=1e-4, rtol=1e-4)
