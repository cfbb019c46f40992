"""Self-supervised training on two views of each knee, without grades, with the heads and losses of lightly.

References:
    Chen and He, "Exploring Simple Siamese Representation Learning", CVPR 2021.
    Bardes, Ponce and LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning",
    ICLR 2022.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kneeal.data.source import Source
from kneeal.errors import UserError, extra
from kneeal.files import atomic_file, check_new_file
from kneeal.nn.network import SiameseKneeNet
from kneeal.registry import Registry
from kneeal.seeds import derive_seed

#: What the network is trained for, by the name of the method; made of lightly's heads and losses, for features F.
OBJECTIVES: Registry[Callable[[Any, Any, int], nn.Module]] = Registry("pretraining method", "--method")


@OBJECTIVES.register("simsiam")
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


@OBJECTIVES.register("vicreg")
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
    objective = OBJECTIVES[name]
    with extra("pretrain", "self-supervised training"):
        from lightly import loss
        from lightly.models.modules import heads
    return objective(heads, loss, n_features)


def pretrain(
    network: nn.Module,
    objective: nn.Module,
    source: Source,
    ids: Sequence[str],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float = 1e-3,
    seed: int = 0,
    device: str = "cpu",
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
) -> list[float]:
    """Train in place, with Adam and the learning rate on a cosine; returns the mean loss of each epoch.

    `network` gives an output with `features` [N, F], and `objective` a loss for the features of two views. A last batch
    of a single knee is left out, since the heads normalize by batch.
    """
    if len(ids) < 2 or batch_size < 2:
        raise UserError(
            f"{len(ids)} knees in batches of {batch_size}", "at least 2 of each", "give more knees, or larger batches"
        )
    target = torch.device(device)
    network.to(target).train()
    objective.to(target).train()
    parameters = [*network.parameters(), *objective.parameters()]
    optimizer = torch.optim.Adam(parameters, learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    rows = source.rows(ids, target)
    losses = []
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(derive_seed(seed, "pretrain", epoch))
        order = torch.randperm(len(ids), generator=generator)
        total, count = 0.0, 0
        for batch in torch.split(order, batch_size):
            if len(batch) < 2:
                continue
            seeds = torch.randint(2**62, (2, len(batch)), generator=generator).to(target)
            chosen = rows[batch.to(rows.device)]
            both = torch.cat([source.views(chosen, seeds[0], target), source.views(chosen, seeds[1], target)])
            first, second = network(both).features.chunk(2)
            loss = objective(first, second)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, count = total + float(loss.detach()) * len(batch), count + len(batch)
        schedule.step()
        losses.append(total / count)
        if not math.isfinite(losses[-1]):
            raise UserError(f"a loss of {losses[-1]} in epoch {epoch + 1}", "a finite loss", "lower --learning-rate")
        on_epoch(epoch, losses[-1])
    return losses


def write_weights(network: SiameseKneeNet, out: Path) -> None:
    """Write the weights, whole or not at all, in the form that `fit --init` and first queries read."""
    check_new_file(out)
    weights = {f"network.{name}": w.cpu() for name, w in network.whole_state().items()}
    with atomic_file(out) as temporary:
        torch.save({"state_dict": weights}, temporary)
