"""What a run folder holds of a round, once it is read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RoundPredictions:
    """Predictions of the test set after the fit of a round.

    Attributes:
        ids: The N test knees.
        kl: [N] grades.
        probs: [N, C] probabilities.
        uncertainty: [N] predictive entropy in nats.
    """

    ids: tuple[str, ...]
    kl: tuple[int, ...]
    probs: tuple[tuple[float, ...], ...]
    uncertainty: tuple[float, ...]

    @property
    def predicted(self) -> tuple[int, ...]:
        """[N] the most probable grade of each knee."""
        return tuple(max(range(len(knee)), key=knee.__getitem__) for knee in self.probs)


@dataclass(frozen=True)
class QueryRecord:
    """A query with its answers.

    Attributes:
        round: The round that asked; -1 for the first query, before anything was trained.
        ids: The knees, the most informative first.
        scores: Score of each; NaN if unscored.
        grades: Answered grade of each; None where there is no answer.
    """

    round: int
    ids: tuple[str, ...]
    scores: tuple[float, ...]
    grades: tuple[int | None, ...]
