"""Consistency regularization, the paper's second term: two views of one knee agree.

References:
    Laine and Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017 (the Pi-model).
    Nguyen et al., "Semixup", IEEE Transactions on Medical Imaging 39 (12), 2020 (the knee network).
"""

from __future__ import annotations

from torch import Tensor

from kneeal.nn.network import Output
from kneeal.nn.ssl.method import Method, Step, register

TARGETS = ("features", "logits", "probabilities")


@register("consistency")
class Consistency(Method):
    r"""Mean squared difference between what the network makes of two views, the second term of equation (1).

    .. math:: E_{x \in D_L \cup U} \; \| g(T x, m) - g(T' x, m') \|^2 / d

    with views T and T', dropout masks m and m', and g of dimension d. Both views pass the gradient.

    Args:
        target: What g is: the concatenated "features", the "logits" or the "probabilities".
    """

    source = "equation (1) of the paper; Laine and Aila, Temporal Ensembling for Semi-Supervised Learning, ICLR 2017"

    def __init__(self, *, target: str = "features") -> None:
        super().__init__()
        if target not in TARGETS:
            raise ValueError(f"target must be one of {TARGETS} but got {target=}.")
        self.target = target

    def forward(self, step: Step) -> Tensor:
        """A scalar of 0 or more; of probabilities, in [0, 2 / C]."""
        return (self._select(step.first) - self._select(step.second)).square().mean()

    def _select(self, output: Output) -> Tensor:
        if self.target == "features":
            return output.features
        return output.logits if self.target == "logits" else output.logits.softmax(dim=-1)


@register("pi_model")
class PiModel(Consistency):
    """Consistency of the probabilities."""

    source = "Laine and Aila, Temporal Ensembling for Semi-Supervised Learning, ICLR 2017"

    def __init__(self) -> None:
        super().__init__(target="probabilities")
