"""A network compiled by `torch.compile`, for training."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from kneeal.errors import UserError

#: As `torch.compile` calls its modes: "reduce-overhead" replays a step as one captured graph on a GPU.
Mode = Literal["default", "reduce-overhead"]


def compiled(network: nn.Module, mode: Mode) -> Callable[..., Any]:
    """The forward pass of a network, compiled when it is first called.

    Dropout draws the same numbers as uncompiled, so both give the same up to rounding, which training amplifies.
    Another network with the same layers is not compiled again.

    Args:
        network: Any network that `torch.compile` can follow.
        mode: The mode of `torch.compile`.

    Returns:
        A function with the arguments and results of the network. It raises a `UserError` if the network cannot be
        compiled, for example without a C++ compiler.
    """

    def forward(*inputs: Any) -> Any:
        return network(*inputs)

    fast = torch.compile(forward, options={"fallback_random": True, "triton.cudagraphs": mode == "reduce-overhead"})

    def call(*inputs: Any) -> Any:
        try:
            return fast(*inputs)
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            raise UserError(
                f"the network cannot be compiled here ({next(filter(None, str(error).splitlines()), '')})",
                "a machine with a C++ compiler and a network that torch.compile can follow",
                "install a compiler (g++ or clang), or set compute.compile=none",
            ) from error

    return call
