from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kneeal.nn.layers import LinePooling, QuickDropout, SizeSafeInstanceNorm2d


@pytest.mark.parametrize("p", [0.1, 0.35, 0.5, 0.9])
def test_activations_stay_with_their_probability_and_keep_their_mean(p: float) -> None:
    torch.manual_seed(0)
    n = 2_000_003  # no multiple of four
    y = QuickDropout(p).train()(torch.full((n,), 3.0))
    stays = (y > 0).float()
    assert y.unique().tolist() == [0.0, pytest.approx(3 / (1 - p), rel=2e-4)]
    deviation = (p * (1 - p) / n) ** 0.5
    assert abs(float(stays.mean()) - (1 - p)) < 4 * deviation + 2**-16
    assert abs(float(y.mean()) - 3) < 3 * 4 * deviation / (1 - p)
    # Neither neighbors, nor the four numbers of one word, nor two rows of a map have to do with each other.
    centered = stays - stays.mean()
    for lag in (1, 2, 3, 4, 64, 1024):
        correlation = float((centered[lag:] * centered[:-lag]).mean()) / (p * (1 - p))
        assert abs(correlation) < 4.5 / n**0.5
    quarters = stays[: n // 4 * 4].view(-1, 4).mean(dim=0)
    assert float((quarters - (1 - p)).abs().max()) < 9 * deviation + 2**-16


def test_as_many_stay_as_with_torchs_own() -> None:
    torch.manual_seed(0)
    x = torch.ones(4000, 50)
    counts = [(layer(x) > 0).sum(dim=1).double() for layer in (QuickDropout(0.3).train(), nn.Dropout(0.3).train())]
    assert float(counts[0].mean()) == pytest.approx(float(counts[1].mean()), abs=0.3)
    assert float(counts[0].std()) == pytest.approx(float(counts[1].std()), rel=0.06)


def test_the_gradient_goes_where_the_activation_stayed() -> None:
    x = torch.randn(3, 5, 7, 7, requires_grad=True)
    y = QuickDropout(0.4).train()(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x.detach(), y.detach())
    assert 0 < int((x.grad == 0).sum()) < x.numel()


def test_the_seed_decides_and_masks_differ() -> None:
    x, layer = torch.ones(100), QuickDropout(0.5).train()
    torch.manual_seed(4)
    first, second = layer(x), layer(x)
    torch.manual_seed(4)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)


def test_at_the_ends_and_when_off_it_is_torchs() -> None:
    x = torch.randn(20)
    assert torch.equal(QuickDropout(0.5).eval()(x), x)
    assert torch.equal(QuickDropout(0.0).train()(x), x)
    assert not QuickDropout(1.0).train()(x).any()
    assert QuickDropout(0.5).train()(x.bfloat16()).dtype == torch.bfloat16


def test_networks_stacked_by_vmap_get_masks_of_their_own() -> None:
    layer = QuickDropout(0.5).train()
    y = torch.vmap(layer, randomness="different")(torch.ones(3, 200))
    assert len({tuple(row.tolist()) for row in y}) == 3


@pytest.mark.parametrize("shape", [(3, 4, 9, 7), (1, 1, 2, 1), (2, 5, 64, 64)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_norm_is_torchs_instance_norm(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    x = (torch.randn(shape) * 3 + 1).to(memory_format=layout)
    weight = torch.randn(shape)

    def both(norm: object) -> tuple[Tensor, Tensor]:
        leaf = x.clone().requires_grad_()
        y = norm(leaf)  # type: ignore[operator]
        (y * weight).sum().backward()
        assert leaf.grad is not None
        return y.detach(), leaf.grad

    mine, theirs = both(SizeSafeInstanceNorm2d(shape[1])), both(F.instance_norm)
    torch.testing.assert_close(mine[0], theirs[0], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(mine[1], theirs[1], atol=5e-5, rtol=1e-4)


def test_a_single_element_stays() -> None:
    x = torch.randn(2, 3, 1, 1)
    assert torch.equal(SizeSafeInstanceNorm2d(3)(x), x)


def test_under_autocast_maps_stay_narrow_and_statistics_do_not_suffer() -> None:
    x = (torch.randn(2, 3, 32, 32) + 10).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = SizeSafeInstanceNorm2d(3)(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), F.instance_norm(x.float()), atol=0.02, rtol=0.02)


def test_a_pooled_vector_is_made_of_lines() -> None:
    pooling = LinePooling(4, first_axis=3)
    x = torch.randn(2, 4, 6, 5)
    shuffled = x[..., torch.tensor([3, 0, 4, 1, 2])]
    torch.testing.assert_close(pooling(x), pooling(shuffled))
    assert pooling(x).shape == (2, 4)


@pytest.mark.parametrize("shape", [(3, 4, 9, 7), (2, 5, 64, 64), (2, 3, 5, 1)])
def test_without_gradients_channels_that_lie_side_by_side_stay_there(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = (torch.randn(shape) * 3 + 100).to(memory_format=torch.channels_last)
    before = x.clone()
    with torch.no_grad():
        y = SizeSafeInstanceNorm2d(shape[1])(x)
    assert y.stride(1) == 1
    torch.testing.assert_close(y, F.instance_norm(x.double()).float(), atol=1e-4, rtol=1e-4)
    assert torch.equal(x, before)
