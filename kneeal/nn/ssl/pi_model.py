"""The Pi-model: two views shall get the same probabilities."""

from __future__ import annotations

from torch import Tensor

from kneeal.nn.ssl.method import Method, Step, register


@register("pi_model")
class PiModel(Method):
    """Mean squared difference between the probabilities of two views, over D_L and U."""

    source = "Laine and Aila, Temporal Ensembling for Semi-Supervised Learning, ICLR 2017"

    def forward(self, step: Step) -> Tensor:
        """In [0, 2 / C]; both views pass the gradient."""
        return (step.first.logits.softmax(dim=-1) - step.second.logits.softmax(dim=-1)).square().mean()
