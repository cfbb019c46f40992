"""What the loop needs of whatever trains and predicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from kneeal.acquisition import Needs, Predictions
from kneeal.pool import PoolState


@dataclass(frozen=True)
class Evaluation:
    """How a network does on the test set."""

    metrics: Mapping[str, float]  #: By name, without a prefix.
    confusion: Sequence[Sequence[int]]  #: [C, C] counts, row = true grade.
    ids: tuple[str, ...]  #: The N test knees.
    kl: tuple[int, ...]  #: Their grades.
    probs: Tensor  #: [N, C] of the deterministic pass, on which the metrics rest.
    uncertainty: Tensor  #: [N] predictive entropy in nats, of the posterior that the strategy uses.


@dataclass(frozen=True)
class RoundPredictions:
    """Predictions of the test set after the fit of a round, as they are read from disk."""

    ids: tuple[str, ...]  #: The N test knees.
    kl: tuple[int, ...]  #: [N] grades.
    probs: tuple[tuple[float, ...], ...]  #: [N, C] probabilities.
    uncertainty: tuple[float, ...]  #: [N] predictive entropy in nats.

    @property
    def test_set(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Test knees and their grades."""
        return self.ids, self.kl

    @property
    def predicted(self) -> tuple[int, ...]:
        """[N] the most probable grade of each knee."""
        return tuple(max(range(len(knee)), key=knee.__getitem__) for knee in self.probs)

    @property
    def correct(self) -> tuple[bool, ...]:
        """[N] whether that is the grade."""
        return tuple(guess == grade for guess, grade in zip(self.predicted, self.kl, strict=True))


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
