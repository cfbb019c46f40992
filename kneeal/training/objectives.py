"""Self-supervised objectives on the features of two views: heads and losses of lightly.

References:
    Chen and He, "Exploring Simple Siamese Representation Learning", CVPR 2021.
    Bardes, Ponce and LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning",
    ICLR 2022.
"""

from typing import Any

from torch import Tensor, nn

from kneeal.errors import UserError, extra

METHODS = ("simsiam", "vicreg")


class SimSiam(nn.Module):
    """Each view predicts the other, which passes no gradient; `heads` and `losses` are lightly's."""

    def __init__(self, heads: Any, losses: Any, n_features: int) -> None:
        super().__init__()
        hidden = max(8, n_features // 4)
        self.projection = heads.SimSiamProjectionHead(n_features, n_features, n_features)
        self.prediction = heads.SimSiamPredictionHead(n_features, hidden, n_features)
        self.loss = losses.NegativeCosineSimilarity()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The loss of the features [N, F] of two views, in [-1, 1]."""
        a, b = self.projection(first), self.projection(second)
        loss: Tensor = (self.loss(self.prediction(a), b.detach()) + self.loss(self.prediction(b), a.detach())) / 2
        return loss


class VICReg(nn.Module):
    """Views agree while every feature keeps its variance and none repeats another."""

    def __init__(self, heads: Any, losses: Any, n_features: int) -> None:
        super().__init__()
        self.projection = heads.VICRegProjectionHead(n_features, 4 * n_features, 4 * n_features)
        self.loss = losses.VICRegLoss()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The loss of the features [N, F] of two views, 0 or more."""
        loss: Tensor = self.loss(self.projection(first), self.projection(second))
        return loss


def make_objective(name: str, n_features: int) -> nn.Module:
    """An objective by name, for features [N, `n_features`]."""
    if name not in METHODS:
        raise UserError(f"no method called {name!r}", f"one of: {', '.join(METHODS)}", "correct --method")
    with extra("pretrain", "self-supervised training"):
        from lightly import loss
        from lightly.models.modules import heads
    return {"simsiam": SimSiam, "vicreg": VICReg}[name](heads, loss, n_features)
