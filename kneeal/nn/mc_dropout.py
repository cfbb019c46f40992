"""Monte-Carlo dropout for any network: posterior samples of its output.

References:
    Gal and Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016.
    Kirsch, van Amersfoort and Gal, "BatchBALD", NeurIPS 2019 (one mask for all inputs: consistent samples).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from kneeal.errors import UserError
from kneeal.nn.prefix import PrefixCache

_CHANNELWISE = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout)
_ALPHA = (nn.AlphaDropout, nn.FeatureAlphaDropout)
#: What an alpha dropout sets a dropped activation to: minus the product of SELU's two constants.
_ALPHA_VALUE = -1.7580993408473766


class MonteCarloDropout:
    """Posterior samples of a network's output by dropout at prediction time.

    Sample k is one thinned network: each dropout layer has one mask, drawn from (seed, k), for all inputs. So a
    sample is a draw of the weights, joint over all inputs (Kirsch et al., 2019), and what comes out for one input
    depends neither on the batch it is in nor on the order or the number of processes.

    While it predicts, the network is in evaluation mode, dropout aside: batch normalization keeps its statistics.
    Every mode is restored afterwards, buffers and the global random state are never touched. What comes before the
    first dropout is computed once for all samples.

    Only dropout modules count. Dropout that a network applies as a function, or inside an attention or recurrent
    module, cannot be seen from outside and stays off.

    Args:
        network: Any network with a dropout module; the first dimension of its inputs and outputs is the batch.
        n_samples: Samples K.
        seed: Seed of the masks.
        output: Picks the tensor [N, ...] from what the network returns, where that is not the tensor itself.
        reuse_prefix: Compute what precedes the first dropout once; False computes it for every sample.

    Raises:
        UserError: The network has no dropout module with a probability above 0, or n_samples is below 1.
    """

    def __init__(
        self,
        network: nn.Module,
        n_samples: int = 50,
        *,
        seed: int = 0,
        output: Callable[[Any], Tensor] = lambda result: result,
        reuse_prefix: bool = True,
    ) -> None:
        self._dropouts = [m for m in network.modules() if isinstance(m, _DropoutNd) and m.p > 0]
        if not self._dropouts:
            raise UserError(
                f"Monte-Carlo dropout on a {type(network).__name__} without dropout",
                "a network with at least one dropout module of p > 0",
                "set model.dropout or model.classifier_dropout above 0, or choose a strategy that needs no samples",
            )
        if n_samples < 1:
            raise UserError(f"n_samples = {n_samples}", "at least 1 sample", "set n_samples, 50 in the paper")
        self.network = network
        self.n_samples = n_samples
        self.seed = seed
        self.output = output
        self.reuse_prefix = reuse_prefix

    @torch.inference_mode(False)  # an inference tensor cannot tell whether it was changed in place
    @torch.no_grad()
    def __call__(self, *inputs: Any) -> Tensor:
        """Draw the samples.

        Args:
            inputs: What the network takes.

        Returns:
            [N, K, ...]: the network's output [N, ...], K times.
        """
        modes = [(module, module.training) for module in self.network.modules()]
        prefix = PrefixCache(self.network, self._dropouts) if self.reuse_prefix else None
        samples: list[Tensor] = []
        try:
            for module, _ in modes:
                module.training = False
            for k in range(self.n_samples):
                with _Masks(self._dropouts, self.seed, k):
                    samples.append(self._one_pass(inputs, prefix, first=k == 0))
        finally:
            for module, mode in modes:
                module.training = mode
            if prefix is not None:
                prefix.forget()
        return torch.stack(samples, dim=1)

    def _one_pass(self, inputs: tuple[Any, ...], prefix: PrefixCache | None, *, first: bool) -> Tensor:
        def forward() -> Tensor:
            return self.output(self.network(*inputs))

        if prefix is None:
            return forward()
        if first:
            return prefix.record(forward)
        return prefix.replay(forward) if prefix.usable else forward()


class _Masks:
    """For one sample, give every dropout module its mask by a forward hook (the module itself is off)."""

    def __init__(self, dropouts: list[_DropoutNd], seed: int, sample: int) -> None:
        self._dropouts = dropouts
        self._seed = seed
        self._sample = sample

    def __enter__(self) -> None:
        self._handles = [module.register_forward_hook(self._hook(index)) for index, module in enumerate(self._dropouts)]

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, index: int) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        calls = 0

        def apply(module: Any, inputs: Any, output: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return _drop(module, output, self._generator(index, calls, output.device))

        return apply

    def _generator(self, index: int, call: int, device: torch.device) -> torch.Generator:
        digest = hashlib.sha256(f"{self._seed}/{self._sample}/{index}/{call}".encode()).digest()
        return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _drop(module: _DropoutNd, x: Tensor, generator: torch.Generator) -> Tensor:
    """Apply a dropout module to x [N, ...] with one mask for all N."""
    shape = [1, *x.shape[1:]]
    if isinstance(module, _CHANNELWISE):
        shape[2:] = [1] * len(shape[2:])
    keep = torch.rand(shape, generator=generator, device=x.device) >= module.p
    if not isinstance(module, _ALPHA):
        return x * (keep.to(x.dtype) / (1.0 - module.p)) if module.p < 1 else torch.zeros_like(x)
    # Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017: an affine map restores mean and variance.
    q = 1.0 - module.p
    scale = 1.0 / math.sqrt(q + _ALPHA_VALUE**2 * q * module.p) if q else 0.0
    return torch.where(keep, x, _ALPHA_VALUE) * scale - scale * module.p * _ALPHA_VALUE
