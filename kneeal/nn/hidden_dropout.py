"""Dropout that Monte-Carlo dropout cannot sample: refused, since it would silently be left out or sampled wrongly."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode

from kneeal.errors import UserError
from kneeal.nn.masks import DropoutMasks

#: Functions that drop, with the index of the rate among their arguments, and whether they drop unless told otherwise.
_FUNCTIONS: Mapping[Callable[..., Any], tuple[int, bool]] = {
    **dict.fromkeys((F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, torch.dropout), (1, True)),
    **dict.fromkeys((F.alpha_dropout, F.feature_alpha_dropout), (1, False)),
    F.scaled_dot_product_attention: (4, True),
}
#: Modules that drop inside a kernel, at the rate in their attribute `dropout`.
_KERNELS = (nn.MultiheadAttention, nn.RNNBase)
#: Modules that stay in evaluation mode while dropout is looked for: those that are sampled, and those with statistics.
_KEPT = (_DropoutNd, _NormBase)


class _Calls(TorchFunctionMode):
    """Notices a dropout function that is called in training with a probability above 0."""

    found = False

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FUNCTIONS:
            place, drops = _FUNCTIONS[func]
            p = args[place] if len(args) > place else kwargs.get("p", kwargs.get("dropout_p", 0.5 if place == 1 else 0))
            if place == 1:
                drops = args[2] if len(args) > 2 else kwargs.get("training", kwargs.get("train", drops))
            self.found |= bool(drops and p > 0)
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
        # In training mode, since a function that drops in training alone is never called in evaluation mode.
        with _Calls() as calls, masks.observe(), _training(network):
            network(*(i[:1] if isinstance(i, Tensor) and i.ndim and len(i) == n else i for i in inputs))
        if calls.found:
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


@contextmanager
def _training(network: nn.Module) -> Iterator[None]:
    """Put what can be in training mode without a trace."""
    devices = {p.device for p in network.parameters() if p.is_cuda}
    changed = [m for m in network.modules() if not isinstance(m, _KEPT)]
    with torch.random.fork_rng(devices):  # stochastic depth draws
        try:
            for module in changed:
                module.training = True
            yield
        finally:
            for module in changed:
                module.training = False


def _refuse(found: str, cure: str) -> None:
    raise UserError(
        f"Monte-Carlo dropout on a network with {found}",
        "dropout modules alone, whose inputs have the batch as their first dimension",
        f"{cure}, or choose a strategy that needs no samples",
    )
