"""Our strategies in the loop of modAL."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kneeal.acquisition import Posterior, Predictions, Strategy
from kneeal.adapters.shapes import predictions_of
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
        seed: Seed of all queries; the size of the pool distinguishes them.
        probabilities: From a learner and samples X to probabilities [N, C], or [N, K, C] for K posterior samples. By
            default, the members of a committee are the posterior samples, and a learner's `predict_proba` is one.
        features: From a learner and samples X to feature vectors [N, F]; by default X itself, flattened, which is right
            if the classifier is linear in X.

    Returns:
        A function of a learner, a pool and `n_instances` that returns positions in the pool.
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
        needs, known = strategy.needs, learner.X_training
        labels = None
        if needs.label_counts:  # a committee has classes of its own
            classes = (learner if hasattr(learner, "classes_") else learner.estimator).classes_
            labels = np.searchsorted(classes, learner.y_training)

        def given(samples: Any, of: str = "pool") -> Predictions:
            probs = None if needs.posterior is Posterior.NONE else predict(learner, samples)
            features = vectors(learner, samples) if needs.features else None
            return predictions_of(strategy, np.shape(samples)[0], probs, features, labels, of=of)

        predictions = given(pool)
        has_labels = needs.features and known is not None and np.shape(known)[0] > 0
        labeled = given(known, "labeled samples") if has_labels else None
        n = min(n_instances, len(predictions))
        chosen = strategy.select(predictions, n, labeled=labeled, seed=derive_seed(seed, "query", len(predictions)))
        return np.array([int(i) for i in chosen], dtype=np.int64)

    return query
