"""A compiled network gives what it gives uncompiled, its dropout included."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from kneeal.errors import UserError
from kneeal.nn.layers import QuickDropout, SizeSafeInstanceNorm2d
from kneeal.training.learner import compiled

pytestmark = pytest.mark.skipif(
    TorchVersion(torch.__version__) < "2.9" or not any(map(shutil.which, ("g++", "clang++"))),
    reason="no C++ compiler, or PyTorch older than 2.9",
)


@pytest.fixture(autouse=True)
def forget() -> Any:
    """What is compiled here stays here."""
    yield
    torch._dynamo.reset()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), SizeSafeInstanceNorm2d(2), nn.LeakyReLU(0.2, inplace=True), QuickDropout())


def test_the_same_outputs_and_gradients() -> None:
    # In double precision, so that what is left of rounding is small.
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    graphs: list[Any] = []
    dynamo = torch._dynamo.utils.counters["stats"]

    def trained(is_compiled: bool) -> tuple[Tensor, Tensor]:
        net = network().double()
        forward = compiled(net, "default") if is_compiled else net
        torch.manual_seed(1)
        output = forward(images)
        output.square().sum().backward()
        weight = net.get_parameter("0.weight")
        assert weight.grad is not None
        graphs.append(dynamo["unique_graphs"])
        return output, weight.grad

    plain, first, again = (trained(is_compiled) for is_compiled in (False, True, True))
    for output, gradient in (first, again):
        assert (output == 0).any()  # dropout is on
        torch.testing.assert_close(output, plain[0])
        torch.testing.assert_close(gradient, plain[1])
    # The second network of the same layers, as in every round, is not compiled again.
    assert graphs[0] < graphs[1] == graphs[2]


def test_without_a_compiler_the_cure_is_said(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    with inductor.patch({"cpp.cxx": ("no-such-compiler",)}), pytest.raises(UserError, match=r"compute\.compile=none"):
        compiled(nn.Linear(3, 2), "default")(torch.ones(1, 3))


def test_an_error_of_the_network_itself_stays_what_it_is() -> None:
    def wrong(x: Tensor) -> Tensor:
        raise ValueError("patches must be square")

    net = nn.Module()
    net.forward = wrong
    with pytest.raises(ValueError, match="square"):
        compiled(net, "default")(torch.ones(1))
