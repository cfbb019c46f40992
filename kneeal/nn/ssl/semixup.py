"""Semixup's two regularizers: views of a knee agree, and a mix of two knees gets the mix of their predictions."""

import torch
from torch import Tensor

from kneeal.nn.ssl.method import Method, Step, register


@register("semixup")
class Semixup(Method):
    r"""In-manifold plus out-of-manifold consistency of the probabilities, over D_L and U.

    .. math:: \| p(x) - p(x') \|^2 + \| p(\lambda x + (1 - \lambda) y) - \lambda p(x) - (1 - \lambda) p(y) \|^2

    for two views x and x' of one knee and a view y of another, lambda from Beta(alpha, alpha), each the mean over
    knees and grades. The mixed target passes no gradient. It takes one more forward pass per step.

    Args:
        alpha: Of the Beta distribution of lambda, above 0.
        interpolation: Weight of the second term, 0 or more.
    """

    source = (
        "Nguyen et al., Semixup, IEEE TMI 39 (12), 2020; "
        "Verma et al., Interpolation Consistency Training, IJCAI 2019 (the second term)"
    )

    def __init__(self, *, alpha: float = 0.75, interpolation: float = 1.0) -> None:
        super().__init__()
        if not alpha > 0.0:
            raise ValueError(f"alpha must be above 0 but got {alpha=}.")
        if not interpolation >= 0.0:
            raise ValueError(f"interpolation must be at least 0 but got {interpolation=}.")
        self.alpha = alpha
        self.interpolation = interpolation
        self.compares_views = interpolation == 0.0

    def forward(self, step: Step) -> Tensor:
        """A scalar of 0 or more."""
        first, second = step.first.logits.softmax(dim=-1), step.second.logits.softmax(dim=-1)
        agreement: Tensor = (first - second).square().mean()
        if not self.interpolation:
            return agreement
        # Drawn from torch's global generator, as dropout masks are: the fit has seeded it.
        alpha = torch.full((), self.alpha)
        ratio = torch.distributions.Beta(alpha, alpha).sample((len(first),)).to(first)
        partner = torch.randperm(len(first), device=first.device)
        views = step.knees[:, 0]
        wide = ratio.view(-1, *[1] * (views.ndim - 1))
        mixed = step.network(wide * views + (1.0 - wide) * views[partner]).logits.softmax(dim=-1)
        with torch.no_grad():
            target = ratio[:, None] * first + (1.0 - ratio[:, None]) * first[partner]
        interpolated: Tensor = agreement + self.interpolation * (mixed - target).square().mean()
        return interpolated
