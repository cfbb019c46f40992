"""Events of a run, for a console or a dashboard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RoundReport:
    """A finished round."""

    round: int  #: From 0.
    n_labeled: int  #: Labels that the round trained on.
    n_graded: int  #: Grades that were really used: those and the free ones for validation.
    n_pseudo: int  #: Knees of the pseudo pool that the round trained on.
    metrics: Mapping[str, float]  #: `val_*` and `test_*`.
    confusion: Sequence[Sequence[int]]  #: Test confusion matrix, row = true grade.
    uncertainty: Sequence[float]  #: Of each test knee, in nats.
    query: Sequence[str]  #: Knees asked for; empty in the last round.
    scores: Mapping[str, float]  #: Score of each of them.
    answers: Mapping[str, int]  #: Grade of each of them.
    seconds: Mapping[str, float]  #: Of fit, test, predict and select.
    n_rounds: int  #: Rounds of the whole run.
    n_pool: int  #: Unlabeled knees in this round.


class LoopListener:
    """Notified of the rounds of a run; a subclass overrides what it wants to know."""

    def run_started(self, config: Mapping[str, Any], finished: Sequence[RoundReport]) -> None:
        """A run begins, or resumes after the rounds `finished`."""

    def round_started(self, round: int, n_labeled: int, n_pool: int, n_rounds: int) -> None:
        """A round begins."""

    def round_finished(self, report: RoundReport) -> None:
        """A round is over: its query is answered, or the budget is spent."""

    def run_ended(self, error: BaseException | None) -> None:
        """The run is finished, or an error ends it."""


class FitProgress:
    """Notified of epochs and predicted knees; a subclass overrides what it shows, and this one shows nothing."""

    def begin(self, what: str, total: int, unit: str) -> None:
        """A fit or prediction of `total` steps begins: "fit", "predict pool" or "predict test"."""

    def advance(self, n: int, metrics: Mapping[str, float]) -> None:
        """So many more steps are done; after an epoch, with its metrics."""

    def end(self) -> None:
        """The fit or prediction is over."""


#: Shows nothing.
SILENT = FitProgress()
