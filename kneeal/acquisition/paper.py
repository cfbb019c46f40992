"""The five strategies that the paper compares."""

from __future__ import annotations

import torch
from torch import Tensor

from kneeal.acquisition import measures
from kneeal.acquisition.predictions import Posterior, Predictions
from kneeal.acquisition.registry import register
from kneeal.acquisition.strategy import SamplingStrategy, Strategy

_GAL = "Gal, Islam and Ghahramani, Deep Bayesian Active Learning with Image Data, ICML 2017"


@register("random")
class Random(Strategy):
    """Every knee is wanted as much as any other."""

    posterior = Posterior.NONE
    source = "the baseline"

    def score(self, predictions: Predictions) -> Tensor:
        """Zeros [N]: `select` draws uniformly among equal scores."""
        return torch.zeros(len(predictions))


@register("least_confidence")
class LeastConfidence(Strategy):
    """The knees whose most probable grade is least probable."""

    posterior = Posterior.POINT
    source = "Lewis and Gale, A Sequential Algorithm for Training Text Classifiers, SIGIR 1994"

    def score(self, predictions: Predictions) -> Tensor:
        """1 - max_c p(c|x), [N] in [0, 1 - 1/C]."""
        return measures.least_confidence(predictions.given())


@register("entropy")
class Entropy(Strategy):
    """The knees of the highest predictive entropy, by one deterministic pass."""

    posterior = Posterior.POINT
    source = "Shannon, A Mathematical Theory of Communication, Bell System Technical Journal 27, 1948"

    def score(self, predictions: Predictions) -> Tensor:
        """H(p), [N] in [0, log C] nats."""
        return measures.entropy(predictions.given())


@register("entropy_mcd")
class EntropyMCD(SamplingStrategy):
    """The knees of the highest total uncertainty: entropy of the mean over dropout samples."""

    source = _GAL

    def score(self, predictions: Predictions) -> Tensor:
        """Unc_t, [N] in [0, log C] nats."""
        return measures.entropy(predictions.given())


@register("mi_mcd")
class MutualInformationMCD(SamplingStrategy):
    """The knees of the highest epistemic uncertainty: mutual information of grade and weights."""

    source = f"Houlsby et al., arXiv:1112.5745, 2011; {_GAL}"

    def score(self, predictions: Predictions) -> Tensor:
        """Unc_t - Unc_d, [N] in [0, log C] nats."""
        return measures.mutual_information(predictions.given())
