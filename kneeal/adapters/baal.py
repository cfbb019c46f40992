"""Our strategies in the loop of baal."""

from __future__ import annotations

from collections.abc import Callable
from types import GeneratorType
from typing import Any

import numpy as np

from kneeal.acquisition import Strategy
from kneeal.adapters.shapes import features_only, predictions_of
from kneeal.seeds import derive_seed


def baal_heuristic(
    strategy: Strategy,
    *,
    query_size: int,
    seed: int = 0,
    features: Callable[[], Any] | None = None,
    labeled_features: Callable[[], Any] | None = None,
) -> Any:
    """A strategy as a heuristic for `baal.active.ActiveLearningLoop`.

    The first `query_size` ranks are the strategy's query, chosen together where the strategy does so; the others
    follow by score.

    Args:
        strategy: From `kneeal.acquisition.get`.
        query_size: That of the loop.
        seed: Of all queries; each has a seed of its own, by the size of the pool.
        features: Gives feature vectors [N, F] of the pool in its order, for a strategy that needs them. The loop's
            `max_sample` hides from it which part of the pool was predicted, so it cannot be used together with it.
        labeled_features: The same for the labeled.

    Returns:
        A `baal.active.heuristics.AbstractHeuristic`. It takes what baal predicts: probabilities or logits
        [N, C, K], or [N, C]; also in parts.
    """
    from baal.active.heuristics import AbstractHeuristic
    from baal.utils.array_utils import to_prob

    class KneealHeuristic(AbstractHeuristic):  # type: ignore[misc]
        def _given(self, predictions: Any) -> Any:
            if isinstance(predictions, GeneratorType):
                predictions = np.concatenate([np.asarray(part) for part in predictions])
            probs = to_prob(np.asarray(predictions))
            probs = probs.swapaxes(1, 2) if probs.ndim == 3 else probs
            return predictions_of(strategy, len(probs), probs, features() if features is not None else None)

        def compute_score(self, predictions: Any, target_predictions: Any = None) -> Any:
            return strategy.score(self._given(predictions)).numpy()

        def get_ranks(self, predictions: Any, target_predictions: Any = None) -> Any:
            pool = self._given(predictions)
            known = None
            if strategy.needs.features and labeled_features is not None:
                known = features_only(labeled_features())
            n = min(query_size, len(pool))
            chosen = strategy.select(pool, n, labeled=known, seed=derive_seed(seed, "query", len(pool)))
            first = np.array([int(i) for i in chosen], dtype=int)
            scores = strategy.score(pool).numpy()
            by_score = np.argsort(-scores, kind="stable")
            return np.concatenate([first, by_score[~np.isin(by_score, first)]]), scores

    return KneealHeuristic()
