"""FixMatch: what the network is sure of in one view is the grade of the other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kneeal.nn.ssl.method import Method, Step, register


@register("fixmatch")
class FixMatch(Method):
    """Cross-entropy of the second view to the most probable grade of the first, where that is probable enough.

    Over D_L and U, as equation (1); the grades of D_L are not used here. The source makes the first view weak and the
    second strong; both are the random views of `views.*` here.

    Args:
        threshold: Least probability of a pseudo-label, in [0, 1].
    """

    source = "Sohn et al., FixMatch, NeurIPS 2020; Lee, Pseudo-Label, ICML workshop 2013"

    def __init__(self, *, threshold: float = 0.95) -> None:
        super().__init__()
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold must be in [0, 1] but got {threshold=}.")
        self.threshold = threshold

    def forward(self, step: Step) -> Tensor:
        """Mean over all n knees, so that few sure knees weigh little."""
        probs = step.first.logits.detach().softmax(dim=-1)
        confidence, label = probs.max(dim=-1)
        losses = F.cross_entropy(step.second.logits, label, reduction="none")
        return (losses * (confidence >= self.threshold).to(losses.dtype)).mean()


@register("pseudo_label")
class PseudoLabel(FixMatch):
    """Cross-entropy of a view to its own most probable grade, where that is probable enough."""

    source = "Lee, Pseudo-Label, ICML workshop 2013"

    def forward(self, step: Step) -> Tensor:
        """Mean over both views of all n knees."""
        swapped = Step(step.network, step.knees, step.first, step.first, step.kl)
        other = Step(step.network, step.knees, step.second, step.second, step.kl)
        return torch.stack([super().forward(swapped), super().forward(other)]).mean()
