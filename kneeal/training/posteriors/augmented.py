"""Test-time augmentation: the spread of predictions over random views.

References:
    Wang et al., "Aleatoric Uncertainty Estimation with Test-Time Augmentation for Medical Image Segmentation with
    Convolutional Neural Networks", Neurocomputing 338, 2019.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kneeal.acquisition import Needs, Posterior
from kneeal.loop.runner import Runner
from kneeal.training.posteriors.base import Ingredients, PosteriorRunner, register


@dataclass(eq=False)
class AugmentedRunner(PosteriorRunner):
    """One network, which sees K random views of each knee; the point estimate and the features rest on none."""

    viewed: Callable[[int], Runner]  #: From k to a runner that predicts the k-th random view of every knee.

    def check_samples(self, n_samples: int, network: nn.Module) -> None:
        """Refuse more views of a knee than are kept."""
        self.viewed(n_samples - 1)

    def samples(self, checkpoint: Path, round: int, ids: Sequence[str], n_samples: int) -> Tensor:
        """One sample per view, [N, K, C]."""
        needs, runners = Needs(Posterior.POINT), map(self.viewed, range(n_samples))
        return torch.cat([r.predict(checkpoint, round, ids, needs).require_log_probs() for r in runners], dim=1)


@register("tta")
def augmented(given: Ingredients) -> AugmentedRunner:
    """One network, which sees random views of each knee."""
    return AugmentedRunner(given.make(), given.test, lambda k: given.make(view=k))
