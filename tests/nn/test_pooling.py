from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kneeal.nn.pooling import LinePooling, SizeSafeInstanceNorm2d


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
