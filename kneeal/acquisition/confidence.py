"""Margin and variation ratio: how clearly the most probable grade leads."""

import torch
from torch import Tensor
from torch.nn import functional as F

from kneeal.acquisition import measures
from kneeal.acquisition.predictions import Posterior, Predictions
from kneeal.acquisition.registry import register
from kneeal.acquisition.strategy import SamplingStrategy, Strategy


@register("margin")
class Margin(Strategy):
    """The knees whose two most probable grades are closest in probability."""

    posterior = Posterior.POINT
    source = "Scheffer, Decomain and Wrobel, Active Hidden Markov Models for Information Extraction, IDA 2001"

    def score(self, predictions: Predictions) -> Tensor:
        """1 - (p_1 - p_2) for the two largest probabilities, [N] in [0, 1]."""
        return 1.0 - margins(predictions.require_log_probs())


@register("variation_ratio")
class VariationRatio(SamplingStrategy):
    """The knees on whose grade the fewest posterior samples agree."""

    source = (
        "Freeman, Elementary Applied Statistics, 1965; Gal, Islam and Ghahramani, "
        "Deep Bayesian Active Learning with Image Data, ICML 2017"
    )

    def score(self, predictions: Predictions) -> Tensor:
        """1 - (votes for the most frequent grade) / K, each sample voting for its most probable grade.

        [N] in [0, 1 - 1/min(K, C)]. Many knees have equal scores; the seed decides between them.
        """
        log_probs = predictions.require_samples()
        votes = F.one_hot(log_probs.argmax(dim=2), log_probs.shape[2]).sum(dim=1)  # [N, C]
        return 1.0 - votes.amax(dim=1) / log_probs.shape[1]


def margins(log_probs: Tensor) -> Tensor:
    """p_1 - p_2 of the mean over the samples: [N, K, C] -> [N] in [0, 1]; 1 if there is only one class."""
    probs = measures.mean_log_probs(log_probs).exp()
    if probs.shape[1] == 1:
        return torch.ones_like(probs[:, 0])
    first, second = probs.topk(2, dim=1).values.unbind(dim=1)
    return first - second
