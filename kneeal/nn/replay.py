"""What is computed once for all Monte-Carlo dropout samples: the part before the first dropout, and a linear head."""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from kneeal.nn.masks import DropoutMasks, is_plain


class PrefixCache:
    """Records the outputs of modules that finish before the first dropout and reuses them in later passes.

    It assumes that, before its first dropout, the network calls the same modules in the same order in every pass over
    the same input. The outermost modules that finish before it are recorded, so a whole group of layers costs nothing
    in later passes. If the network changes a recorded tensor in place, its version counter shows it, and nothing is
    reused.

    Args:
        network: Any network.
        dropouts: Its dropout modules; one of them ends the prefix.
    """

    def __init__(self, network: nn.Module, dropouts: Collection[nn.Module]) -> None:
        self._records: list[tuple[nn.Module, Tensor, int]] = []
        self._dropouts = set(dropouts)
        self._certain = [m for m in network.modules() if m is not network and self._dropouts.isdisjoint(m.modules())]

    def record(self, forward: Callable[[], Tensor]) -> Tensor:
        """Run the first pass and record its prefix."""
        starts: list[int] = []
        stopped = False
        self._records = []

        def begin(module: nn.Module, inputs: Any) -> None:
            starts.append(len(self._records))

        def end(module: nn.Module, inputs: Any, output: Any) -> None:
            start = starts.pop()
            if not stopped and isinstance(output, Tensor) and not output.is_inference():
                # This module replaces the smaller ones inside it.
                del self._records[start:]
                self._records.append((module, output, output._version))

        def stop(module: nn.Module, inputs: Any) -> None:
            nonlocal stopped
            stopped = True

        with ExitStack() as hooks:
            # Before the hooks of the network, which change the output again when it is replayed.
            for module in self._certain:
                hooks.enter_context(module.register_forward_pre_hook(begin))
                hooks.enter_context(module.register_forward_hook(end, prepend=True))
            for module in self._dropouts:
                hooks.enter_context(module.register_forward_pre_hook(stop))
            return forward()

    @property
    def usable(self) -> bool:
        """Whether anything was recorded, and nothing of it has been changed in place since."""
        return bool(self._records) and all(output._version == version for _, output, version in self._records)

    def replay(self, forward: Callable[[], Tensor]) -> Tensor:
        """Run a later pass with the recorded outputs in place of the modules that made them."""
        queues: dict[nn.Module, list[Tensor]] = {}
        for module, output, _ in self._records:
            queues.setdefault(module, []).append(output)
        originals = {module: module.__dict__.get("forward") for module in queues}
        try:
            for module, outputs in queues.items():
                module.forward = _recorded(module.forward, iter(outputs))
            return forward()
        finally:
            for module, original in originals.items():
                if original is None:
                    del module.__dict__["forward"]
                else:
                    module.__dict__["forward"] = original


def _recorded(compute: Callable[..., Any], outputs: Iterator[Tensor]) -> Callable[..., Any]:
    """Returns the recorded outputs, then computes once they are used up."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = next(outputs, None)
        return compute(*args, **kwargs) if output is None else output

    return forward


class LinearTail:
    """Detects in one pass whether a linear layer directly follows the only dropout of a network.

    A masked input times a weight is the input times a masked weight. So the samples of all masks come from one
    product, and no masked copy of the input is made for each of them. What follows the layer is run on its samples.

    Args:
        network: Any network.
        dropout: Its dropout module, where it has only one.
    """

    def __init__(self, network: nn.Module, dropout: _DropoutNd) -> None:
        self._dropout = dropout
        self._layers = [module for module in network.modules() if type(module) is nn.Linear]
        self._dropped: list[tuple[Tensor, Tensor]] = []
        self._found: list[tuple[nn.Linear, Tensor, int]] = []

    @contextmanager
    def observe(self) -> Iterator[None]:
        """Watch one pass, in which `DropoutMasks.observe` applies masks."""
        self._dropped, self._found = [], []

        def after_dropout(module: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
            self._dropped.append((inputs[0], output))

        def before_layer(module: nn.Linear, inputs: tuple[Any, ...]) -> None:
            self._found += [(module, x, _version(x)) for x, masked in self._dropped if masked is inputs[0]]

        with ExitStack() as hooks:
            hooks.enter_context(self._dropout.register_forward_hook(after_dropout))
            for layer in self._layers:
                hooks.enter_context(layer.register_forward_pre_hook(before_layer))
            yield

    def usable(self, masks: DropoutMasks, first: Tensor, forward: Callable[[], Tensor]) -> bool:
        """Whether the dropout's one call went to one linear layer alone, with inputs [N, F].

        Args:
            masks: The masks that were applied in the observed pass.
            first: What the network gave there, sample 0.
            forward: Runs a pass; called once, to rule out that the masked input is also used elsewhere.
        """
        if len(self._dropped) != 1 or len(self._found) != 1 or not is_plain(self._dropout):
            return False
        _, x, version = self._found[0]
        if x.ndim != 2 or _version(x) != version:
            return False
        return torch.allclose(self.replay(self.outputs(masks, 0, 1)[0], forward), first, rtol=1e-3, atol=1e-4)

    def outputs(self, masks: DropoutMasks, first: int, n: int) -> Tensor:
        """The layer's outputs for samples `first` to `first + n`: [n, N, C]."""
        layer, x, _ = self._found[0]
        (kept,) = masks.of(first, n)  # [n, 1, F]
        weights = kept.to(x.dtype) / (1.0 - self._dropout.p) * layer.weight  # [n, C, F]
        product = x @ weights.flatten(0, 1).T
        if layer.bias is not None:
            product = product + layer.bias.repeat(n)
        return product.view(len(x), n, -1).movedim(1, 0)

    def replay(self, output: Tensor, forward: Callable[[], Tensor]) -> Tensor:
        """Run a pass with one sample of the layer's output [N, C] in place of the layer."""
        with self._found[0][0].register_forward_hook(lambda module, inputs, _: output):
            return forward()


def _version(x: Tensor) -> int:
    """How often a tensor was changed in place; an inference tensor does not know."""
    return 0 if x.is_inference() else x._version
