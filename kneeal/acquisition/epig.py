"""EPIG: what a grade would tell about the grades of the knees that are to be predicted.

Symbols:
    x a knee of the pool, x* a knee that will be predicted, K posterior samples.
    EPIG(x) = E_{x*} I(y; y* | x, x*), with the joint p(y, y*) = mean_k p_k(y|x) p_k(y*|x*).
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from kneeal.acquisition import measures
from kneeal.acquisition.options import whole
from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.registry import register
from kneeal.acquisition.strategy import SamplingStrategy

#: Entries of the block of joint probabilities that is held at a time.
_BLOCK = 2**23


@register("epig")
class EPIG(SamplingStrategy):
    """The knees whose grades tell most about the grades of the other knees, rather than about the weights.

    The knees to be predicted are those of the pool, of which a part stands for all: the ids alone decide which.

    Args:
        n_targets: How many knees of the pool stand for those to be predicted.
        n_samples: Posterior samples K, at least 2, drawn jointly for all knees.
    """

    pointwise = False  # what a grade tells about the other knees depends on which others there are
    source = "Bickford Smith et al., Prediction-Oriented Bayesian Active Learning, AISTATS 2023"

    def __init__(self, *, n_targets: int = 200, n_samples: int = 50) -> None:
        super().__init__(n_samples=n_samples)
        self.n_targets = whole("n_targets", n_targets)

    def score(self, predictions: Predictions) -> Tensor:
        """EPIG, [N] in [0, log C] nats."""
        log_probs = predictions.given()
        # By a digest, so that neither the order of the pool nor a seed matters.
        digests = [hashlib.blake2b(i.encode(), digest_size=8).digest() for i in predictions.ids]
        targets = sorted(range(len(digests)), key=digests.__getitem__)[: self.n_targets]
        return expected_predictive_information_gain(log_probs, log_probs[targets])


def expected_predictive_information_gain(log_probs: Tensor, targets: Tensor) -> Tensor:
    """EPIG(x) = H(y) + E_{x*} [ H(y*) - H(y, y*) ].

    Args:
        log_probs: [N, K, C] of the pool, in nats.
        targets: [M, K, C] of the knees to be predicted, from the same posterior samples.

    Returns:
        [N] in [0, log C] nats.

    Raises:
        ValueError: The numbers of samples disagree.
    """
    if log_probs.shape[1] != targets.shape[1]:
        raise ValueError(f"both need the same samples, but got K = {log_probs.shape[1]} and {targets.shape[1]}.")
    if not len(log_probs):
        return log_probs.new_zeros(0)
    n_samples = log_probs.shape[1]
    marginal = measures.entropy(log_probs) + measures.entropy(targets).mean()
    dtype = torch.float64 if log_probs.dtype == torch.float64 else torch.float32
    others = targets.to(dtype).exp().transpose(0, 1).flatten(1) / n_samples  # [K, M C]
    joint = log_probs.new_empty(len(log_probs), dtype=dtype)
    step = max(1, _BLOCK // (others.shape[1] * log_probs.shape[2]))
    for start in range(0, len(log_probs), step):
        probs = log_probs[start : start + step].to(dtype).exp().transpose(1, 2)  # [n, C, K]
        # Sum over y, y* and x* at once: only the mean over x* is wanted.
        joint[start : start + step] = torch.special.entr(probs @ others).sum(dim=(1, 2)) / len(targets)
    gain: Tensor = (marginal.to(dtype) - joint).clamp(min=0.0)
    return gain
