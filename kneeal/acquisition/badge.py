"""BADGE: knees with large and diverse gradients.

Symbols:
    h [F] the features, p [C] the probabilities, e the one-hot vector of the most probable grade.
    g = (p - e) (x) h, the gradient of the cross-entropy to the last layer, with the most probable grade as the label.
    A gradient has C F entries, but <g, g'> = <p - e, p' - e'> <h, h'>, so gradients are never materialized.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from kneeal.acquisition import measures
from kneeal.acquisition.batch import BatchStrategy, draw
from kneeal.acquisition.predictions import Posterior, Predictions
from kneeal.acquisition.registry import register


@register("badge")
class BADGE(BatchStrategy):
    """Knees by k-means++ in the space of their last-layer gradients."""

    posterior = Posterior.POINT
    needs_features = True
    source = (
        "Ash et al., Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds, ICLR 2020; "
        "k-means++: Arthur and Vassilvitskii, SODA 2007"
    )

    def score(self, predictions: Predictions) -> Tensor:
        """Norm of the gradient, [N] >= 0: 0 if the network is certain of a knee."""
        errors, features = _factors(predictions)
        length: Tensor = (errors.square().sum(dim=1) * features.square().sum(dim=1)).sqrt()
        return length

    def choose(self, pool: Predictions, n: int, labeled: Predictions | None, generator: Generator) -> Sequence[int]:
        """The longest gradient first, then knees sampled by squared distance to the nearest gradient chosen so far."""
        errors, features = _factors(pool)
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
            # Between equal gradients, rounding leaves a squared distance of about 1e-7 of their squared norm.
            distance[distance <= 1e-6 * squares] = 0.0
            weights = distance * free
            if float(weights.sum()) <= 0.0:
                weights = free.to(weights.dtype)
            chosen.append(draw(weights, generator))


def _factors(predictions: Predictions) -> tuple[Tensor, Tensor]:
    """P - e [N, C] and h [N, F]."""
    features = predictions.require_features()
    probs = measures.mean_log_probs(predictions.require_log_probs()).exp().detach().cpu().to(features.dtype)
    return probs - F.one_hot(probs.argmax(dim=1), probs.shape[1]).to(probs.dtype), features
