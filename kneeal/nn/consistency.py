"""Consistency regularization: two views of one knee shall look alike to the network.

References:
    Laine and Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017 (the Pi model and the ramp-up).
    Nguyen et al., "Semixup", IEEE Transactions on Medical Imaging 39 (12), 2020 (the knee network).
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from kneeal.nn.network import Output

TARGETS = ("features", "logits", "probabilities")


class ConsistencyLoss(nn.Module):
    r"""Mean squared difference between what the network makes of two views, the second term of equation (1).

    .. math:: L = L_{CE}(D_L) + w(t) \; E_{x \in D_L \cup U} \; \| g(T x, m) - g(T' x, m') \|^2 / d

    with views T and T', dropout masks m and m', and g of dimension d.

    Args:
        target: What g is: the concatenated "features", the "logits" or the "probabilities".

    Raises:
        ValueError: The target is unknown.
    """

    def __init__(self, target: str = "features") -> None:
        super().__init__()
        if target not in TARGETS:
            raise ValueError(f"target must be one of {TARGETS} but got {target=}.")
        self.target = target

    def forward(self, first: Output, second: Output) -> Tensor:
        """The loss, a scalar of 0 or more.

        Args:
            first: The network's output for one view of N knees.
            second: Its output for another view of the same knees, with other dropout masks.
        """
        return (self._select(first) - self._select(second)).square().mean()

    def _select(self, output: Output) -> Tensor:
        if self.target == "features":
            return output.features
        return output.logits if self.target == "logits" else output.logits.softmax(dim=-1)


def ramp_up(epoch: int, length: int) -> float:
    """Weight factor in (0, 1] that rises as exp(-5 (1 - t)^2) over the first `length` epochs (Laine and Aila, 2017).

    Args:
        epoch: The current epoch, from 0.
        length: Epochs until the factor is 1; 0 means that it is 1 from the start.
    """
    if epoch >= length:
        return 1.0
    return math.exp(-5.0 * (1.0 - epoch / length) ** 2)
