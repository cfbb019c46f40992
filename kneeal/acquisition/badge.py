"""BADGE: knees whose gradients are large and differ.

Symbols:
    h [F] the features, p [C] the probabilities, e the one-hot vector of the most probable grade.
    g = (p - e) (x) h, the gradient of the cross-entropy to the last layer, as if the most probable grade were true.
    A gradient has C F entries, but <g, g'> = <p - e, p' - e'> <h, h'>, so no gradient is ever written down.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from kneeal.acquisition import measures
from kneeal.acquisition.batch import BatchStrategy, draw, features_of
from kneeal.acquisition.predictions import Posterior, Predictions
from kneeal.acquisition.registry import register


@register("badge")
class BADGE(BatchStrategy):
    """Knees by k-means++ in the space of the gradients they would cause in the last layer."""

    posterior = Posterior.POINT
    needs_features = True
    source = (
        "Ash et al., Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds, ICLR 2020; "
        "k-means++: Arthur and Vassilvitskii, SODA 2007"
    )

    def score(self, predictions: Predictions) -> Tensor:
        """Length of the gradient, [N] of 0 or more: 0 for a knee that the network is sure of."""
        errors, features = _factors(predictions)
        length: Tensor = (errors.square().sum(dim=1) * features.square().sum(dim=1)).sqrt()
        return length

    def choose(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None, generator: torch.Generator
    ) -> Sequence[int]:
        """The longest gradient first, then knees drawn by the squared distance to the nearest gradient chosen."""
        errors, features = _factors(predictions)
        squares = errors.square().sum(1) * features.square().sum(1)
        chosen = [int(squares.argmax())]
        distance = torch.full_like(squares, torch.inf)
        free = torch.ones(len(squares), dtype=torch.bool)
        while True:
            last = chosen[-1]
            free[last] = False
            if len(chosen) == n:
                return chosen
            inner = (errors @ errors[last]) * (features @ features[last])
            distance = torch.minimum(distance, (squares + squares[last] - 2.0 * inner).clamp(min=0.0))
            # Rounding leaves a distance of about 1e-7 of the squares between equal gradients.
            distance[distance <= 1e-6 * squares] = 0.0
            weights = distance * free
            if float(weights.sum()) <= 0.0:
                weights = free.to(weights.dtype)
            chosen.append(draw(weights, generator))


def _factors(predictions: Predictions) -> tuple[Tensor, Tensor]:
    """P - e [N, C] and h [N, F]."""
    features = features_of(predictions)
    probs = measures.mean_log_probs(predictions.given()).exp().detach().cpu().to(features.dtype)
    return probs - F.one_hot(probs.argmax(dim=1), probs.shape[1]).to(probs.dtype), features
