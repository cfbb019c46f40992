"""Stochastic relatives of BALD: a query is sampled instead of taking the n highest scores.

The knees with the n highest scores are often similar. Sampling with probabilities that grow with the score gives varied
queries at no extra cost (Kirsch et al., 2023). By the Gumbel trick, sampling n knees without replacement amounts to
taking the n largest values of log-weight + Gumbel noise.
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from kneeal.acquisition.batch import BatchStrategy, gumbel
from kneeal.acquisition.options import check_float
from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.registry import register
from kneeal.acquisition.uncertainty import MutualInformationMCD


class StochasticBALD(MutualInformationMCD, BatchStrategy):
    """Samples knees without replacement, with weights that grow with their mutual information.

    Args:
        beta: Inverse temperature, above 0. Toward 0 all knees are equally likely; toward infinity the highest scores
            are taken.
        n_samples: Number of posterior samples K, at least 2.
    """

    source = "Kirsch et al., Stochastic Batch Acquisition: A Simple Baseline for Deep Active Learning, TMLR 2023"

    def __init__(self, *, beta: float = 1.0, n_samples: int = 50) -> None:
        super().__init__(n_samples=n_samples)
        self.beta = check_float("beta", beta, 0.0)

    @abstractmethod
    def log_weights(self, scores: Tensor) -> Tensor:
        """Logarithm of the weight of each knee, [N] -> [N] up to a constant; -inf for a weight of 0."""

    def choose(self, pool: Predictions, n: int, labeled: Predictions | None, generator: Generator) -> Sequence[int]:
        """The n largest values of log-weight + Gumbel noise."""
        scores = self.score(pool).detach().cpu().double()
        # Knees of weight 0 come last, in the random order of the pool.
        keys = self.log_weights(scores) + gumbel(len(scores), generator)
        return torch.argsort(keys, descending=True, stable=True)[:n].tolist()


@register("power_bald")
class PowerBALD(StochasticBALD):
    """Knees sampled in proportion to a power of their mutual information."""

    def log_weights(self, scores: Tensor) -> Tensor:
        """Beta log I: knees without information are sampled only once no others are left."""
        return self.beta * scores.log()


@register("softmax_bald")
class SoftmaxBALD(StochasticBALD):
    """Knees sampled in proportion to the exponential of their mutual information."""

    def log_weights(self, scores: Tensor) -> Tensor:
        """Beta I."""
        return self.beta * scores


@register("softrank_bald")
class SoftrankBALD(StochasticBALD):
    """Knees sampled in proportion to a power of their rank by mutual information."""

    def log_weights(self, scores: Tensor) -> Tensor:
        """-beta log rank, rank 1 for the highest score."""
        order = torch.argsort(scores, descending=True, stable=True)
        ranks = torch.empty_like(scores)
        ranks[order] = torch.arange(1, len(scores) + 1, dtype=scores.dtype)
        return -self.beta * ranks.log()
