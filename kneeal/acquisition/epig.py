"""EPIG: how informative a grade would be about the grades to be predicted.

Symbols:
    x a knee of the pool, x* a target: a knee to be predicted; K posterior samples.
    EPIG(x) = E_{x*} I(y; y* | x, x*), with the joint p(y, y*) = mean_k p_k(y|x) p_k(y*|x*).
"""

import torch
from torch import Tensor

from kneeal.acquisition import measures
from kneeal.acquisition.options import check_int
from kneeal.acquisition.predictions import Predictions, full_precision
from kneeal.acquisition.registry import register
from kneeal.acquisition.strategy import SamplingStrategy, seeded_order

#: Largest number of entries in a block of joint probabilities.
_BLOCK = 2**23


@register("epig")
class EPIG(SamplingStrategy):
    """The knees whose grades are most informative about the grades of other knees, rather than about the weights.

    The targets are a random part of the pool, which the ids alone determine.

    Args:
        n_targets: Number of targets.
        n_samples: Number of posterior samples K, at least 2, drawn jointly for all knees.
    """

    pointwise = False  # the targets belong to the pool
    source = "Bickford Smith et al., Prediction-Oriented Bayesian Active Learning, AISTATS 2023"

    def __init__(self, *, n_targets: int = 200, n_samples: int = 50) -> None:
        super().__init__(n_samples=n_samples)
        self.n_targets = check_int("n_targets", n_targets)

    def score(self, predictions: Predictions) -> Tensor:
        """EPIG, [N] in [0, log C] nats."""
        log_probs = predictions.require_samples()
        targets = seeded_order(predictions.ids, 0)[: self.n_targets]
        return expected_predictive_information_gain(log_probs, log_probs[targets])


def expected_predictive_information_gain(log_probs: Tensor, targets: Tensor) -> Tensor:
    """EPIG(x) = H(y) + E_{x*} [ H(y*) - H(y, y*) ].

    Args:
        log_probs: [N, K, C] in nats for the pool.
        targets: [M, K, C] in nats for the targets, from the same posterior samples.

    Returns:
        [N] in [0, log C] nats.
    """
    marginal = measures.entropy(log_probs) + measures.entropy(targets).mean()
    log_probs, targets = full_precision(log_probs), full_precision(targets)
    others = targets.exp().transpose(0, 1).flatten(1) / log_probs.shape[1]  # [K, M C]
    step = max(1, _BLOCK // max(1, others.shape[1] * log_probs.shape[2]))
    # Only the mean over x* is needed, so the sum runs over y, y* and x* at once.
    joint = [
        torch.special.entr(part.exp().transpose(1, 2) @ others).sum(dim=(1, 2))  # [n, C, K] @ [K, M C] -> [n]
        for part in torch.split(log_probs, step)
    ]
    gain: Tensor = (marginal - torch.cat(joint) / len(targets)).clamp(min=0.0)
    return gain
