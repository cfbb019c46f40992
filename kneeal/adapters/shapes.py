"""From the arrays of other libraries to what a strategy is given."""

from __future__ import annotations

from typing import Any

import torch

from kneeal.acquisition import Posterior, Predictions, Strategy
from kneeal.errors import UserError


def predictions_of(strategy: Strategy, n: int, probs: Any, features: Any) -> Predictions:
    """What a strategy needs, from arrays.

    Args:
        strategy: Any strategy.
        n: Size of the pool N.
        probs: Probabilities [N, K, C], or [N, C]; None where the strategy needs none.
        features: [N, F]; None where it needs none.

    Returns:
        Predictions whose ids are the positions "0", "1", ...

    Raises:
        UserError: Something that it needs is missing.
    """
    name = type(strategy).__name__
    log_probs = None
    if strategy.needs.posterior is not Posterior.NONE:
        if probs is None:
            raise UserError(f"{name} without probabilities", "probabilities of the pool", "give them")
        tensor = torch.as_tensor(probs).double()
        tensor = tensor if tensor.ndim == 3 else tensor.unsqueeze(1)
        if strategy.needs.posterior is Posterior.POINT:
            tensor = tensor.mean(dim=1, keepdim=True)
        elif tensor.shape[1] < 2:
            raise UserError(
                f"{name}, which needs posterior samples, with one prediction for each of the pool",
                "at least 2 predictions each, by Monte-Carlo dropout or a committee",
                "give samples, or choose a strategy that needs a point prediction",
            )
        log_probs = tensor.log()
    if not strategy.needs.features:
        features = None
    elif features is None:
        raise UserError(f"{name} without features", "feature vectors [N, F] of the pool", "give `features`")
    vectors = None if features is None else torch.as_tensor(features).float()
    return Predictions(tuple(str(k) for k in range(n)), log_probs, vectors)


def features_only(features: Any) -> Predictions:
    """Labeled samples by their features [M, F] alone."""
    vectors = torch.as_tensor(features).float()
    return Predictions(tuple(f"labeled{k}" for k in range(len(vectors))), None, vectors)
