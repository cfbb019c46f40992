"""Test-time augmentation: the spread of predictions over random views.

References:
    Wang et al., "Aleatoric Uncertainty Estimation with Test-Time Augmentation for Medical Image Segmentation with
    Convolutional Neural Networks", Neurocomputing 338, 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from kneeal.acquisition import Needs, Posterior
from kneeal.loop.runner import Runner
from kneeal.pool import PoolState
from kneeal.training.posteriors.base import Ingredients, PosteriorRunner, features_by, log_probs_of, register


class AugmentedRunner(PosteriorRunner):
    """One network, which sees K random views of each knee.

    Args:
        plain: Trains, and predicts unaugmented knees: the point estimate.
        viewed: From k to a runner that predicts the k-th random view of every knee.
        test: Test knees and grades.
    """

    def __init__(self, plain: Runner, viewed: Callable[[int], Runner], test: Mapping[str, int]) -> None:
        super().__init__(test)
        self.plain = plain
        self.viewed = viewed

    def check_samples(self, n_samples: int, network: nn.Module) -> None:
        """Refuse more views of a knee than are kept."""
        self.viewed(n_samples - 1)

    def fit(self, state: PoolState, checkpoint: Path, previous: Path | None) -> Mapping[str, float]:
        """Train the one network."""
        return self.plain.fit(state, checkpoint, previous)

    def samples(self, checkpoint: Path, round: int, ids: Sequence[str], n_samples: int) -> Tensor:
        """One sample per view, [N, K, C]."""
        views = (self.viewed(k) for k in range(n_samples))
        needs = Needs(Posterior.POINT)
        return torch.cat([log_probs_of(runner, checkpoint, round, ids, needs) for runner in views], dim=1)

    def features(self, checkpoint: Path, round: int, ids: Sequence[str]) -> Tensor:
        """Those of the unaugmented knees."""
        return features_by(self.plain, checkpoint, round, ids)

    def point(self, checkpoint: Path, round: int, ids: Sequence[str]) -> Tensor:
        """The prediction of the unaugmented knees."""
        return log_probs_of(self.plain, checkpoint, round, ids, Needs(Posterior.POINT))[:, 0]


@register("tta")
def augmented(given: Ingredients) -> AugmentedRunner:
    """One network, which sees random views of each knee."""
    return AugmentedRunner(given.make(), lambda k: given.make(view=k), given.test)
