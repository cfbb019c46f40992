from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from kneeal.errors import UserError
from kneeal.nn.mc_dropout import MonteCarloDropout


class Functional(nn.Module):
    """Module dropout beside functional dropout."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.module(x), self.p, self.training)


class InTraining(Functional):
    """Functional dropout that evaluation mode never reaches."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.module(x)
        return F.dropout(x, self.p) if self.training else x


class Underneath(Functional):
    """The function below that of `torch.nn.functional`."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.dropout(self.module(x), self.p, self.training)


class FusedAttention(Functional):
    """A kernel that drops attention weights, as timm calls it."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.module(x)
        return F.scaled_dot_product_attention(x, x, x, dropout_p=self.p if self.training else 0.0)


class Normalized(Functional):
    """Batch normalization as a module, and stochastic depth, which is not dropout."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.norm = nn.BatchNorm1d(4)
        self.depth = StochasticDepth(0.5, "row")

    def forward(self, x: Tensor) -> Tensor:
        return self.depth(super().forward(self.norm(x)))


class SequenceFirst(nn.Module):
    """Dropout on [S, N, F]."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x.transpose(0, 1)).transpose(0, 1).sum(dim=1)


class Attention(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 1, dropout=dropout, batch_first=True)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.attention(x, x, x)[0]).sum(dim=1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 4, num_layers=2, dropout=0.3, batch_first=True)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.rnn(x)[0]).sum(dim=1)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Functional(0.2), "as a function"),
        (InTraining(0.2), "as a function"),
        (Underneath(0.2), "as a function"),
        (FusedAttention(0.2), "as a function"),
        (SequenceFirst(), "first dimension is not the batch"),
        (nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 1, 4, dropout=0.1), 1), "MultiheadAttention"),
        (Attention(0.2), "MultiheadAttention"),
        (Recurrent(), "GRU"),
    ],
)
def test_dropout_that_cannot_be_drawn_is_refused(network: nn.Module, message: str) -> None:
    modes = [m.training for m in network.modules()]
    with pytest.raises(UserError, match=message):
        MonteCarloDropout(network, 3)(torch.randn(3, 4, 4))
    assert [m.training for m in network.modules()] == modes


@pytest.mark.parametrize(
    "network", [Functional(0.0), InTraining(0.0), Underneath(0.0), FusedAttention(0.0), Attention(0.0), Normalized()]
)
def test_what_never_drops_is_not_refused(network: nn.Module) -> None:
    buffers = [b.clone() for b in network.buffers()]
    x = torch.randn(2, 4, 4)
    state = torch.get_rng_state()
    assert MonteCarloDropout(network, 3)(x).shape[:2] == (2, 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(buffers, network.buffers(), strict=True))


@pytest.mark.parametrize("reuse", [True, False])
def test_a_forward_hook_is_applied_once_per_sample(reuse: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    network[0].register_forward_hook(lambda module, inputs, output: output + 1)
    x = torch.randn(3, 4)
    found = MonteCarloDropout(network, 8, seed=1, reuse_prefix=reuse)(x)
    whole = 2 * (network[0](x)).detach()  # a call of the module applies the hook
    kept = found != 0
    torch.testing.assert_close(found[kept], whole[:, None].expand_as(found)[kept])
