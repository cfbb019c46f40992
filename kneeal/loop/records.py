"""What a run folder holds of a round, once it is read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RoundPredictions:
    """Predictions of the test set after the fit of a round."""

    ids: tuple[str, ...]  #: The N test knees.
    kl: tuple[int, ...]  #: [N] grades.
    probs: tuple[tuple[float, ...], ...]  #: [N, C] probabilities.
    uncertainty: tuple[float, ...]  #: [N] predictive entropy in nats.

    @property
    def predicted(self) -> tuple[int, ...]:
        """[N] the most probable grade of each knee."""
        return tuple(max(range(len(knee)), key=knee.__getitem__) for knee in self.probs)


@dataclass(frozen=True)
class QueryRecord:
    """A query with its answers."""

    round: int  #: The round that asked; -1 for the first query, before anything was trained.
    ids: tuple[str, ...]  #: The knees, the most informative first.
    scores: tuple[float, ...]  #: Score of each; NaN if unscored.
    grades: tuple[int | None, ...]  #: Answered grade of each; None where there is no answer.
