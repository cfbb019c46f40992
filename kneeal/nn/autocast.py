"""Automatic mixed precision of convolutions inside `torch.vmap`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS = {
    torch.conv1d,
    torch.conv2d,
    torch.conv3d,
    torch.conv_transpose1d,
    torch.conv_transpose2d,
    torch.conv_transpose3d,
}


class AutocastConvolutions(TorchFunctionMode):
    """Casts the arguments of a convolution as autocast does, where autocast is on.

    `torch.vmap` decomposes a convolution before autocast sees it. On a CPU, autocast does not know the remaining
    operation, so a 32-bit weight meets a bfloat16 map and torch refuses. Matrix products are cast as usual.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a torch function."""
        kwargs = kwargs or {}
        if func not in _CONVOLUTIONS:
            return func(*args, **kwargs)
        return func(*map(_cast, args), **{name: _cast(value) for name, value in kwargs.items()})


def _cast(value: Any) -> Any:
    if not isinstance(value, Tensor) or value.dtype is torch.float64 or not value.is_floating_point():
        return value
    kind = value.device.type
    return value.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else value
