"""Our strategies in the loop of baal."""

from collections.abc import Callable
from types import GeneratorType
from typing import Any

import numpy as np

from kneeal.acquisition import Predictions, Strategy
from kneeal.adapters.shapes import predictions_of
from kneeal.seeds import derive_seed


def baal_heuristic(
    strategy: Strategy,
    *,
    query_size: int,
    seed: int = 0,
    features: Callable[[], Any] | None = None,
    labeled_features: Callable[[], Any] | None = None,
    labeled_predictions: Callable[[], Any] | None = None,
    labels: Callable[[], Any] | None = None,
) -> Any:
    """A strategy as a heuristic for `baal.active.ActiveLearningLoop`.

    The first `query_size` ranks are the strategy's query; the others follow by score.

    Args:
        strategy: From `kneeal.acquisition.get`.
        query_size: That of the loop.
        seed: Seed of all queries; the size of the pool distinguishes them.
        features: Returns feature vectors [N, F] of the pool in its order, for a strategy that needs them. The loop's
            `max_sample` cannot be used then, since it hides which part of the pool was predicted.
        labeled_features: The same for the labeled samples.
        labeled_predictions: Returns predictions for the labeled samples, in the form of those for the pool, for a
            strategy that needs features and predictions.
        labels: Returns the class index of each labeled sample, for a strategy that needs label counts.

    Returns:
        A `baal.active.heuristics.AbstractHeuristic`. It takes what baal predicts: probabilities or logits
        [N, C, K], or [N, C]; also in parts.
    """
    from baal.active.heuristics import AbstractHeuristic
    from baal.utils.array_utils import to_prob

    def call(function: Callable[[], Any] | None) -> Any:
        return None if function is None else function()

    def probabilities(predictions: Any) -> Any:
        if isinstance(predictions, GeneratorType):
            predictions = np.concatenate([np.asarray(part) for part in predictions])
        probs = to_prob(np.asarray(predictions))
        return probs.swapaxes(1, 2) if probs.ndim == 3 else probs

    class KneealHeuristic(AbstractHeuristic):  # type: ignore[misc]
        def _pool(self, predictions: Any) -> Predictions:
            probs = probabilities(predictions)
            return predictions_of(strategy, len(probs), probs, call(features), call(labels))

        def compute_score(self, predictions: Any, target_predictions: Any = None) -> Any:
            return strategy.score(self._pool(predictions)).numpy()

        def get_ranks(self, predictions: Any, target_predictions: Any = None) -> Any:
            pool, known = self._pool(predictions), None
            if strategy.needs.features and labeled_features is not None:
                vectors, predicted = labeled_features(), call(labeled_predictions)
                probs = None if predicted is None else probabilities(predicted)
                known = predictions_of(strategy, len(vectors), probs, vectors, call(labels), of="labeled samples")
            n = min(query_size, len(pool))
            chosen = strategy.select(pool, n, labeled=known, seed=derive_seed(seed, "query", len(pool)))
            first = np.array([int(i) for i in chosen], dtype=int)
            scores = strategy.score(pool).numpy()
            by_score = np.argsort(-scores, kind="stable")
            return np.concatenate([first, by_score[~np.isin(by_score, first)]]), scores

    return KneealHeuristic()
