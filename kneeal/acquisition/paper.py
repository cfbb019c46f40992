"""The five strategies compared in the paper."""

import torch
from torch import Tensor

from kneeal.acquisition import measures
from kneeal.acquisition.predictions import Posterior, Predictions
from kneeal.acquisition.registry import register
from kneeal.acquisition.strategy import SamplingStrategy, Strategy

_GAL = "Gal, Islam and Ghahramani, Deep Bayesian Active Learning with Image Data, ICML 2017"


@register("random")
class Random(Strategy):
    """Knees drawn uniformly."""

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
        return measures.least_confidence(predictions.require_log_probs())


@register("entropy")
class Entropy(Strategy):
    """The knees with the highest predictive entropy in one deterministic pass."""

    posterior = Posterior.POINT
    source = "Shannon, A Mathematical Theory of Communication, Bell System Technical Journal 27, 1948"

    def score(self, predictions: Predictions) -> Tensor:
        """H(p), [N] in [0, log C] nats."""
        return measures.entropy(predictions.require_log_probs())


@register("entropy_mcd")
class EntropyMCD(SamplingStrategy):
    """The knees with the highest total uncertainty: entropy of the mean over dropout samples."""

    source = _GAL

    def score(self, predictions: Predictions) -> Tensor:
        """Unc_t, [N] in [0, log C] nats."""
        return measures.entropy(predictions.require_log_probs())


@register("mi_mcd")
class MutualInformationMCD(SamplingStrategy):
    """The knees with the highest epistemic uncertainty: mutual information of grade and weights."""

    source = f"Houlsby et al., arXiv:1112.5745, 2011; {_GAL}"

    def score(self, predictions: Predictions) -> Tensor:
        """Unc_t - Unc_d, [N] in [0, log C] nats."""
        return measures.mutual_information(predictions.require_samples())
