"""FixMatch: a confident prediction of one view is the pseudo-label of the other."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from kneeal.nn.ssl.method import Method, Step, register


@register("fixmatch")
class FixMatch(Method):
    """Cross-entropy between the second view and the most probable grade of the first, where it reaches the threshold.

    Over D_L and U, as equation (1), without the grades of D_L. The source uses a weak first and a strong second view;
    here both are random views drawn from `views.*`.

    Args:
        threshold: Minimum probability of a pseudo-label, in [0, 1].
    """

    source = "Sohn et al., FixMatch, NeurIPS 2020; Lee, Pseudo-Label, ICML workshop 2013"

    def __init__(self, *, threshold: float = 0.95) -> None:
        super().__init__()
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold must be in [0, 1] but got {threshold=}.")
        self.threshold = threshold

    def forward(self, step: Step) -> Tensor:
        """Mean over all n knees, so that a few confident knees carry little weight."""
        probs = step.first.logits.detach().softmax(dim=-1)
        confidence, label = probs.max(dim=-1)
        losses = F.cross_entropy(step.second.logits, label, reduction="none")
        return (losses * (confidence >= self.threshold).to(losses.dtype)).mean()


@register("pseudo_label")
class PseudoLabel(FixMatch):
    """Cross-entropy between a view and its own most probable grade, where it reaches the threshold."""

    source = "Lee, Pseudo-Label, ICML workshop 2013"
    compares_views = False

    def forward(self, step: Step) -> Tensor:
        """Mean over both views of all n knees."""
        once, again = replace(step, second=step.first), replace(step, first=step.second)
        return torch.stack([super().forward(once), super().forward(again)]).mean()
