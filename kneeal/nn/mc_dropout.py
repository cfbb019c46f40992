"""Monte-Carlo dropout for any network: posterior samples of its output.

References:
    Gal and Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016.
    Kirsch, van Amersfoort and Gal, "BatchBALD", NeurIPS 2019 (one mask for all inputs: consistent samples).
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from kneeal.errors import UserError
from kneeal.nn.masks import DropoutMasks, HiddenDropout, UnforeseenDropout
from kneeal.nn.replay import LinearTail, PrefixCache

#: Bytes that the activations in front of the dropout modules may take over all samples of one pass. On a CPU more
#: than the cache holds is slower; any other device is filled by less already.
_CPU_PASS_BYTES, _PASS_BYTES = 8 * 2**20, 512 * 2**20


class MonteCarloDropout:
    """Posterior samples of a network's output by dropout at prediction time.

    Sample k is one thinned network: each dropout layer has one mask, drawn from (seed, k), for all inputs. So a
    sample is a draw of the weights, joint over all inputs (Kirsch et al., 2019), and what comes out for one input
    depends neither on the batch it is in nor on the order or the number of processes.

    While it predicts, the network is in evaluation mode, dropout aside: batch normalization keeps its statistics.
    Every mode is restored afterwards, buffers and the global random state are never touched. What comes before the
    first dropout is computed once for all samples, and several samples are computed in one pass (`torch.vmap`).
    A network that allows neither is run one sample after another, with the same results. Where memory runs out, the
    passes and then the batches are made smaller.

    Only dropout modules can be sampled. Dropout as a function, inside an attention or recurrent module, or where the
    first dimension is not the batch, is refused at the first call.

    Args:
        network: Any network with a dropout module; the first dimension of its inputs and outputs is the batch.
        n_samples: Samples K.
        seed: Seed of the masks.
        output: Picks the tensor [N, ...] from what the network returns.
        reuse_prefix: Compute what precedes the first dropout once; False computes it for every sample.
        samples_per_pass: Samples computed together; None chooses by the size of the activations. 1 computes one after
            another.

    Raises:
        UserError: The network has no dropout module with a probability above 0, or a number is below 1.
    """

    def __init__(
        self,
        network: nn.Module,
        n_samples: int = 50,
        *,
        seed: int = 0,
        output: Callable[[Any], Tensor] = lambda result: result,
        reuse_prefix: bool = True,
        samples_per_pass: int | None = None,
    ) -> None:
        self._dropouts = dropout_modules(network)
        if n_samples < 1:
            raise UserError(f"n_samples = {n_samples}", "at least 1 sample", "set n_samples, 50 in the paper")
        if samples_per_pass is not None and samples_per_pass < 1:
            raise UserError(f"samples_per_pass = {samples_per_pass}", "at least 1 sample", "leave it out")
        self.network = network
        self.n_samples = n_samples
        self.seed = seed
        self.output = output
        self.reuse_prefix = reuse_prefix
        self.samples_per_pass = samples_per_pass
        self._masks = DropoutMasks(self._dropouts, seed)
        self._hidden = HiddenDropout()
        self.together = True  #: Whether several samples are computed in one pass; not once the network refuses it.
        self._largest_pass: int | None = None  # known once memory has run out
        self._largest_batch: int | None = None

    @torch.inference_mode(False)  # an inference tensor cannot tell whether it was changed in place
    @torch.no_grad()
    def __call__(self, *inputs: Any) -> Tensor:
        """Draw the samples.

        Args:
            inputs: What the network takes.

        Returns:
            [N, K, ...]: the network's output [N, ...], K times.

        Raises:
            UserError: The network has dropout that cannot be sampled.
            torch.OutOfMemoryError: One sample of one input exceeds the memory of the device.
        """
        modes = [(module, module.training) for module in self.network.modules()]
        try:
            for module, _ in modes:
                module.training = False
            self._hidden.check_one(self.network, self._masks, inputs)
            return self._whole_or_in_parts(inputs)
        finally:
            for module, mode in modes:
                module.training = mode

    def _whole_or_in_parts(self, inputs: tuple[Any, ...]) -> Tensor:
        """The samples of a batch, halved for as long as memory does not hold it."""
        n = next((len(i) for i in inputs if isinstance(i, Tensor) and i.ndim), 0)
        limit = self._largest_batch or n
        if n <= limit:
            try:
                return self._draw(inputs)
            except RuntimeError as error:
                if not _out_of_memory(error) or n < 2:
                    raise
                self._largest_batch = limit = n // 2
        parts = [
            self._whole_or_in_parts(
                tuple(i[start : start + limit] if isinstance(i, Tensor) and len(i) == n else i for i in inputs)
            )
            for start in range(0, n, limit)
        ]
        return torch.cat(parts)

    def _draw(self, inputs: tuple[Any, ...]) -> Tensor:
        prefix = PrefixCache(self.network, self._dropouts)

        def forward() -> Tensor:
            return self.output(self.network(*inputs))

        def repeat() -> Tensor:
            return prefix.replay(forward) if self.reuse_prefix and prefix.usable else forward()

        # The first sample is drawn alone: it shows what can be reused and which masks there are.
        tail = LinearTail(self.network, self._dropouts[0]) if len(self._dropouts) == 1 else None
        with self._masks.observe(), tail.observe() if tail else nullcontext():
            first = prefix.record(forward) if self.reuse_prefix else forward()
        self._hidden.check_batch(self._masks)
        samples = first.new_empty((len(first), self.n_samples, *first.shape[1:]))
        samples[:, 0] = first
        if tail is None or not self.reuse_prefix or not tail.usable(self._masks, first, repeat):
            tail = None
        if self.samples_per_pass is not None or tail is not None:  # with a tail, a sample needs little memory
            size = self.samples_per_pass or self.n_samples
        else:
            limit = _CPU_PASS_BYTES if first.device.type == "cpu" else _PASS_BYTES
            size = limit // max(1, self._masks.largest_input)
        size, k = max(1, min(size, self.n_samples, self._largest_pass or self.n_samples)), 1
        while k < self.n_samples:
            g = min(size, self.n_samples - k)
            try:
                samples[:, k : k + g] = self._pass(repeat, k, g, tail).movedim(0, 1)
                k += g
            except RuntimeError as error:
                if not _out_of_memory(error) or g == 1:
                    raise
                self._largest_pass = size = g // 2
        return samples

    def _pass(self, forward: Callable[[], Tensor], first: int, n: int, tail: LinearTail | None) -> Tensor:
        """Samples `first` to `first + n`: [n, N, ...]."""
        if n > 1 and self.together:
            try:
                if tail is not None:
                    outputs = tail.outputs(self._masks, first, n)
                    return torch.vmap(lambda output: tail.replay(output, forward))(outputs)
                return torch.vmap(lambda masks: self._masks.apply(masks, forward))(self._masks.of(first, n))
            except UnforeseenDropout:
                self.together = False
            except RuntimeError as error:
                if _out_of_memory(error):
                    raise
                self.together = False  # the network does something that torch.vmap cannot follow
        parts = []
        for k in range(first, first + n):
            with self._masks.observe(k):
                parts.append(forward())
        return torch.stack(parts)


def has_dropout(network: nn.Module) -> bool:
    """Whether a network has a dropout module with a probability above 0."""
    return any(isinstance(m, _DropoutNd) and m.p > 0 for m in network.modules())


def dropout_modules(network: nn.Module) -> list[_DropoutNd]:
    """The dropout modules with a probability above 0.

    Raises:
        UserError: The network has none.
    """
    found = [m for m in network.modules() if isinstance(m, _DropoutNd) and m.p > 0]
    if not found:
        raise UserError(
            f"Monte-Carlo dropout on a {type(network).__name__} without dropout",
            "a network with at least one dropout module of p > 0",
            "set model.dropout or model.classifier_dropout above 0, or choose a strategy that needs no samples",
        )
    return found


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
