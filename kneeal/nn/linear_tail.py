"""All Monte-Carlo dropout samples of a linear layer right after the only dropout, as one matrix product."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from kneeal.nn.masks import DropoutMasks, is_plain


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
        self._dropped, self._found, given = [], [], list[Tensor]()

        def before_dropout(module: Any, inputs: tuple[Any, ...]) -> None:
            given.append(inputs[0])

        def after_dropout(module: Any, inputs: Any, output: Tensor) -> None:
            self._dropped.append((given[-1], output))

        def before_layer(module: nn.Linear, inputs: tuple[Any, ...]) -> None:
            self._found += [(module, x, _version(x)) for x, masked in self._dropped if masked is inputs[0]]

        with ExitStack() as hooks:
            hooks.enter_context(self._dropout.register_forward_pre_hook(before_dropout))
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
