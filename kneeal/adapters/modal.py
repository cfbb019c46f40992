"""Our strategies in the loop of modAL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kneeal.acquisition import Posterior, Strategy
from kneeal.adapters.shapes import features_only, predictions_of
from kneeal.seeds import derive_seed


def modal_query_strategy(
    strategy: Strategy,
    *,
    seed: int = 0,
    probabilities: Callable[[Any, Any], Any] | None = None,
    features: Callable[[Any, Any], Any] | None = None,
) -> Callable[..., NDArray[np.int64]]:
    """A strategy as a `query_strategy` for modAL's learners and committees.

    Args:
        strategy: From `kneeal.acquisition.get`.
        seed: Of all queries; each has a seed of its own, by the size of the pool.
        probabilities: From a learner and samples X to probabilities [N, C], or [N, K, C] for K posterior samples. By
            default a committee's members are the samples of the posterior, and a learner gives its `predict_proba`.
        features: From a learner and samples X to feature vectors [N, F]; by default X itself, flattened, which is right
            where the classifier is linear in X.

    Returns:
        A function of a learner, a pool and `n_instances` that gives positions in the pool.
    """

    def vectors(learner: Any, samples: Any) -> Any:
        if features is not None:
            return features(learner, samples)
        return np.asarray(samples, dtype=np.float64).reshape(len(samples), -1)

    def predict(learner: Any, samples: Any) -> Any:
        if probabilities is not None:
            return probabilities(learner, samples)
        # modAL's committees vote; a single learner has no members to ask.
        vote = getattr(learner, "vote_proba", None)
        return learner.predict_proba(samples) if vote is None else vote(samples)

    def query(learner: Any, pool: Any, n_instances: int = 1) -> NDArray[np.int64]:
        known = learner.X_training
        predictions = predictions_of(
            strategy,
            np.shape(pool)[0],
            None if strategy.needs.posterior is Posterior.NONE else predict(learner, pool),
            vectors(learner, pool) if strategy.needs.features else None,
        )
        has_labels = strategy.needs.features and known is not None and len(known) > 0
        labeled = features_only(vectors(learner, known)) if has_labels else None
        n = min(n_instances, len(predictions))
        chosen = strategy.select(predictions, n, labeled=labeled, seed=derive_seed(seed, "query", len(predictions)))
        return np.array([int(i) for i in chosen], dtype=np.int64)

    return query
