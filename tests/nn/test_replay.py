"""Samples of a linear layer behind the only dropout, against passes one after another."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kneeal.nn import mc_dropout
from kneeal.nn.layers import QuickDropout
from kneeal.nn.mc_dropout import MonteCarloDropout
from kneeal.nn.replay import LinearTail

X = torch.randn(7, 12, generator=torch.Generator().manual_seed(0))


class Head(nn.Module):
    """A hidden layer, dropout, a linear layer, and something behind it."""

    def __init__(
        self, behind: Callable[[Tensor], Tensor] = lambda y: y, *, bias: bool = True, skip: bool = False
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden = nn.Sequential(nn.Linear(12, 9), nn.ReLU())
        self.dropout = QuickDropout(0.3)
        self.linear = nn.Linear(9, 4, bias=bias)
        self.behind, self.skip = behind, skip
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        dropped = self.dropout(self.hidden(x))
        result = self.behind(self.linear(dropped))
        return result + dropped[:, :4] if self.skip else result


def samples(network: nn.Module, **options: object) -> Tensor:
    return MonteCarloDropout(network, 6, seed=3, **options)(X)  # type: ignore[arg-type]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("behind", [lambda y: y, lambda y: torch.cummin(y.sigmoid(), -1).values.log()])
def test_one_product_gives_the_samples_of_single_passes(behind: Callable[[Tensor], Tensor], bias: bool) -> None:
    network = Head(behind, bias=bias)
    plain = samples(network, reuse_prefix=False, samples_per_pass=1)
    network.passes = 0
    torch.testing.assert_close(samples(network), plain)
    assert network.passes <= 4, "one over one input, one to see, one to check, and all other samples in one"
    assert plain.std(dim=1).max() > 0


def test_a_masked_input_that_goes_elsewhere_as_well_is_seen() -> None:
    network = Head(skip=True)
    torch.testing.assert_close(samples(network), samples(network, reuse_prefix=False, samples_per_pass=1))


def test_it_is_used_only_where_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[bool] = []
    usable = LinearTail.usable
    monkeypatch.setattr(mc_dropout.LinearTail, "usable", lambda *given: used.append(usable(*given)) or used[-1])
    flat = nn.Sequential(nn.Linear(12, 9), nn.Dropout(0.3), nn.Linear(9, 4))
    between = nn.Sequential(nn.Dropout(0.3), nn.ReLU(), nn.Linear(12, 4))
    two = nn.Sequential(nn.Dropout(0.3), nn.Linear(12, 9), nn.Dropout(0.3), nn.Linear(9, 4))
    alpha = nn.Sequential(nn.AlphaDropout(0.3), nn.Linear(12, 4))
    for network in (Head(), flat, Head(skip=True), between, alpha, two):
        torch.testing.assert_close(samples(network), samples(network, reuse_prefix=False, samples_per_pass=1))
    assert used == [True, True, False, False, False]
