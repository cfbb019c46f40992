"""Dropout that Monte-Carlo dropout cannot sample: refused, since it would silently be left out or sampled wrongly."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from kneeal.errors import UserError
from kneeal.nn.masks import DropoutMasks

_FUNCTIONS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout)
#: Modules that drop inside a kernel, at the rate in their attribute `dropout`.
_KERNELS = (nn.MultiheadAttention, nn.RNNBase)


class _Calls(TorchFunctionMode):
    """Counts dropout functions that are called with a probability above 0."""

    def __init__(self) -> None:
        self.count = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.count += func in _FUNCTIONS and (args[1] if len(args) > 1 else kwargs.get("p", 0.5)) > 0
        return func(*args, **kwargs)


class HiddenDropout:
    """Finds dropout that cannot be sampled, in a pass over a single input and the first pass over a batch."""

    def __init__(self) -> None:
        self._shapes: list[torch.Size] | None = None

    def check_one(self, network: nn.Module, masks: DropoutMasks, inputs: tuple[Any, ...]) -> None:
        """Check a pass over the first input of the first batch.

        Args:
            network: In evaluation mode.
            masks: Draws its masks.
            inputs: A batch.

        Raises:
            UserError: Dropout is applied as a function, or inside an attention or recurrent module.
        """
        n = next((len(i) for i in inputs if isinstance(i, Tensor) and i.ndim), 0)
        if self._shapes is not None or not n:
            return
        inside = [m for m in network.modules() if isinstance(m, _KERNELS) and m.dropout > 0]
        if inside:
            _refuse(f"dropout inside {type(inside[0]).__name__}", "set its dropout to 0")
        with _Calls() as calls, masks.observe():
            network(*(i[:1] if isinstance(i, Tensor) and i.ndim and len(i) == n else i for i in inputs))
        if calls.count > len(masks.shapes):  # a dropout module calls the function, too
            _refuse("dropout applied as a function", "write it as a module, torch.nn.Dropout for example")
        self._shapes = masks.shapes

    def check_batch(self, masks: DropoutMasks) -> None:
        """Compare the masks of the pass that was observed last.

        Raises:
            UserError: Their shapes differ from those for a single input: their first dimension is not the batch.
        """
        known, found = self._shapes or [], masks.shapes
        if len(known) == len(found) and known != found:
            cure = "give its module inputs [N, ...] (batch_first)"
            _refuse("dropout where the first dimension is not the batch", cure)


def _refuse(found: str, cure: str) -> None:
    raise UserError(
        f"Monte-Carlo dropout on a network with {found}",
        "dropout modules alone, whose inputs have the batch as their first dimension",
        f"{cure}, or choose a strategy that needs no samples",
    )
