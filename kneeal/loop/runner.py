"""What the loop needs of whatever trains and predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from kneeal.acquisition import Posterior, Predictions, Strategy
from kneeal.pool import PoolState


@dataclass(frozen=True)
class Needs:
    """What a prediction must hold.

    Attributes:
        posterior: None, a point estimate or posterior samples.
        n_samples: Posterior samples K, where there are any.
        features: Whether features are needed.
    """

    posterior: Posterior
    n_samples: int = 1
    features: bool = False

    @classmethod
    def of(cls, strategy: Strategy) -> Needs:
        """What a strategy declares."""
        n_samples = getattr(strategy, "n_samples", 50) if strategy.posterior is Posterior.SAMPLES else 1
        return cls(strategy.posterior, n_samples, strategy.needs_features)

    def merged(self, other: Needs) -> Needs | None:
        """Needs that serve both, or None where the posteriors are of different kinds."""
        if Posterior.NONE in (self.posterior, other.posterior):
            richer = self if other.posterior is Posterior.NONE else other
            return Needs(richer.posterior, richer.n_samples, self.features or other.features)
        if (self.posterior, self.n_samples) != (other.posterior, other.n_samples):
            return None
        return Needs(self.posterior, self.n_samples, self.features or other.features)


@dataclass(frozen=True)
class Evaluation:
    """How a network does on the test set.

    Attributes:
        metrics: By name, without a prefix.
        confusion: [C, C] counts, row = true grade.
        ids: The N test knees.
        kl: Their grades.
        probs: [N, C] of the deterministic pass, on which the metrics rest.
        uncertainty: [N] predictive entropy in nats, of the posterior that the strategy uses.
    """

    metrics: Mapping[str, float]
    confusion: Sequence[Sequence[int]]
    ids: tuple[str, ...]
    kl: tuple[int, ...]
    probs: Tensor
    uncertainty: Tensor


class Runner(Protocol):
    """Trains, evaluates and predicts; knows nothing of budgets and queries."""

    def fit(self, state: PoolState, checkpoint: Path, previous: Path | None) -> Mapping[str, float]:
        """Train on the state's labels and pseudo pool, leave the best weights in `checkpoint`.

        Args:
            state: The pool at the start of the round.
            checkpoint: Where the weights go, written whole or not at all.
            previous: The checkpoint of the round before, for a warm start.

        Returns:
            Validation metrics of the chosen epoch, by name without a prefix.
        """

    def test(self, checkpoint: Path, round: int, needs: Needs) -> Evaluation:
        """Evaluate a checkpoint on the test set."""

    def predict(self, checkpoint: Path, round: int, ids: Sequence[str], needs: Needs) -> Predictions:
        """Predict knees, in the order of `ids`."""
