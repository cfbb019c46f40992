"""BALD by its usual name, and its stochastic relatives: a batch drawn instead of the n highest scores.

The n highest scores of one network are often much alike. Drawing them with a probability that grows with the score
gives varied queries at no cost (Kirsch et al., 2023). With the Gumbel trick, drawing n without replacement is taking
the n largest of log-weight + Gumbel noise.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from kneeal.acquisition import measures
from kneeal.acquisition.batch import BatchStrategy
from kneeal.acquisition.options import number
from kneeal.acquisition.paper import MutualInformationMCD
from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.registry import register
from kneeal.acquisition.strategy import SamplingStrategy

register("bald")(MutualInformationMCD)


class StochasticBALD(SamplingStrategy, BatchStrategy):
    """Draws knees without replacement, with weights that grow with their mutual information.

    Args:
        beta: Coldness, above 0. Towards 0 every knee is as likely as any other; towards infinity the highest scores
            are taken.
        n_samples: Posterior samples K, at least 2.
    """

    source = "Kirsch et al., Stochastic Batch Acquisition: A Simple Baseline for Deep Active Learning, TMLR 2023"

    def __init__(self, *, beta: float = 1.0, n_samples: int = 50) -> None:
        super().__init__(n_samples=n_samples)
        self.beta = number("beta", beta, 0.0)

    def score(self, predictions: Predictions) -> Tensor:
        """The mutual information that the weights grow with, [N] in [0, log C] nats."""
        return measures.mutual_information(predictions.given())

    @abstractmethod
    def log_weights(self, scores: Tensor) -> Tensor:
        """Logarithm of the weight of each knee, [N] -> [N] up to a constant; -inf for a weight of 0."""

    def choose(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None, generator: torch.Generator
    ) -> Sequence[int]:
        """The n largest of log-weight + Gumbel noise."""
        scores = self.score(predictions).detach().cpu().double()
        uniform = torch.rand(len(scores), generator=generator, dtype=torch.float64)
        # The clamp keeps the noise finite at 0; 1 does not occur.
        noise = -torch.log(-torch.log(uniform.clamp(min=torch.finfo(torch.float64).tiny)))
        # Knees of weight 0 come last; which of them is random, since the order of the pool is.
        keys = self.log_weights(scores) + noise
        return torch.argsort(keys, descending=True, stable=True)[:n].tolist()


@register("power_bald")
class PowerBALD(StochasticBALD):
    """Knees drawn in proportion to a power of their mutual information."""

    def log_weights(self, scores: Tensor) -> Tensor:
        """Beta log I: a knee of no information is drawn only when nothing else is left."""
        return self.beta * scores.log()


@register("softmax_bald")
class SoftmaxBALD(StochasticBALD):
    """Knees drawn in proportion to the exponential of their mutual information."""

    def log_weights(self, scores: Tensor) -> Tensor:
        """Beta I."""
        return self.beta * scores


@register("softrank_bald")
class SoftrankBALD(StochasticBALD):
    """Knees drawn in proportion to a power of their rank by mutual information."""

    def log_weights(self, scores: Tensor) -> Tensor:
        """-beta log rank, rank 1 for the highest score."""
        order = torch.argsort(scores, descending=True, stable=True)
        ranks = torch.empty_like(scores)
        ranks[order] = torch.arange(1, len(scores) + 1, dtype=scores.dtype)
        return -self.beta * ranks.log()
