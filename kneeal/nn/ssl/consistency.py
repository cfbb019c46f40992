"""Consistency regularization, the paper's second term: two views of one knee agree.

References:
    Laine and Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017 (the Pi-model).
    Nguyen et al., "Semixup", IEEE Transactions on Medical Imaging 39 (12), 2020 (the knee network).
"""

from torch import Tensor

from kneeal.nn.network import Output
from kneeal.nn.ssl.method import Method, Step, register

TARGETS = ("features", "logits", "probabilities")
REDUCTIONS = ("mean", "sum")


@register("consistency")
class Consistency(Method):
    r"""Mean squared difference between what the network makes of two views, the second term of equation (1).

    .. math:: E_{x \in D_L \cup U} \; \| g(T x, m) - g(T' x, m') \|^2 / d

    with views T and T', dropout masks m and m', and g of dimension d. Both views pass the gradient.

    Args:
        target: What g is: the concatenated "features", the "logits" or the "probabilities".
        reduction: "mean" divides by d; "sum" does not, as equation (1) is printed.
    """

    source = "equation (1) of the paper; Laine and Aila, Temporal Ensembling for Semi-Supervised Learning, ICLR 2017"

    def __init__(self, *, target: str = "features", reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {REDUCTIONS} but got {reduction=}.")
        if target not in TARGETS:
            raise ValueError(f"target must be one of {TARGETS} but got {target=}.")
        self.target = target
        self.compares_features = target == "features"
        self.reduction = reduction

    def forward(self, step: Step) -> Tensor:
        """A scalar of 0 or more; for probabilities at most 2, and 2 / C if divided by d = C."""
        squares = (self._select(step.first) - self._select(step.second)).square()
        return squares.mean() if self.reduction == "mean" else squares.sum(dim=1).mean()

    def _select(self, output: Output) -> Tensor:
        if self.target == "features":
            return output.features
        return output.logits if self.target == "logits" else output.logits.softmax(dim=-1)


@register("pi_model")
class PiModel(Consistency):
    """Consistency of the probabilities."""

    source = "Laine and Aila, Temporal Ensembling for Semi-Supervised Learning, ICLR 2017"

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(target="probabilities", reduction=reduction)
