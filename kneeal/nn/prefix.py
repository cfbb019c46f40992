"""Compute the part of a network before its first dropout once for all Monte-Carlo passes."""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn


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
        self._stop = False
        self._records: list[tuple[nn.Module, Tensor, int]] = []
        stochastic = set(dropouts)
        self._dropouts = stochastic
        self._certain = [m for m in network.modules() if m is not network and not stochastic.intersection(m.modules())]

    def record(self, forward: Callable[[], Tensor]) -> Tensor:
        """Run the first pass and record its prefix."""
        starts: list[int] = []
        self._stop, self._records = False, []

        def begin(module: nn.Module, inputs: Any) -> None:
            starts.append(len(self._records))

        def end(module: nn.Module, inputs: Any, output: Any) -> None:
            start = starts.pop()
            if not self._stop and isinstance(output, Tensor) and not output.is_inference():
                # This module replaces the smaller ones inside it.
                del self._records[start:]
                self._records.append((module, output, output._version))

        def stop(module: nn.Module, inputs: Any) -> None:
            self._stop = True

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
