"""When labeling could have stopped: criteria on a run folder, and rules that end a run where that is asked for.

References:
    Bloodgood and Vijay-Shanker, "A Method for Stopping Active Learning Based on Stabilizing Predictions and the Need
    for User-Adjustable Stopping", CoNLL 2009.
    Zhu, Wang, Hovy and Ma, "Confidence-Based Stopping Criteria for Active Learning for Data Annotation", ACM
    Transactions on Speech and Language Processing 6 (3), 2010.
    Laws and Schuetze, "Stopping Criteria for Active Learning of Named Entity Recognition", COLING 2008 (the gain).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from kneeal.errors import UserError
from kneeal.loop.folder import RunFolder
from kneeal.loop.records import RoundPredictions


@dataclass(frozen=True)
class RoundSummary:
    """What a stopping criterion sees of a round after its fit: never a test grade.

    Attributes:
        n_labeled: Labels that the network was trained on.
        predicted: Predicted grade of each test knee, in one order for all rounds.
        uncertainty: Mean uncertainty of the test knees in nats.
        val_accuracy: Balanced accuracy on the validation knees.
    """

    n_labeled: int
    predicted: tuple[int, ...]
    uncertainty: float
    val_accuracy: float

    @classmethod
    def of(cls, row: Mapping[str, Any], predictions: RoundPredictions) -> RoundSummary:
        """The summary of a round.

        Args:
            row: Of rounds.csv.
            predictions: Of the test set, as the run folder has them, so that a resumed run decides as one that was
                never interrupted.
        """
        mean = sum(predictions.uncertainty) / len(predictions.uncertainty)
        return cls(int(row["n_labeled"]), predictions.predicted, mean, float(row.get("val_balanced_accuracy", "nan")))


#: From the summaries of all rounds so far, oldest first, to whether to ask for no more labels.
StopRule = Callable[[Sequence[RoundSummary]], bool]


@dataclass(frozen=True)
class StoppingPoint:
    """Where a criterion would have ended a run.

    Attributes:
        criterion: Its name.
        round: The first round whose fit meets the criterion; None if no round does.
        n_labeled: Labels in that round.
        labels_saved: Labels that the run asked for afterwards.
        cost: Test balanced accuracy of the last round minus that of this one: what stopping would have lost.
    """

    criterion: str
    round: int | None
    n_labeled: int | None = None
    labels_saved: int | None = None
    cost: float | None = None


def agreement(first: Sequence[int], second: Sequence[int]) -> float:
    """Cohen's kappa of two lists of grades, at most 1; 1 where both give one and the same grade throughout."""
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    counts, others = Counter(first), Counter(second)
    chance = sum(counts[g] * others[g] for g in counts) / n**2
    return 1.0 if chance == 1.0 else (observed - chance) / (1.0 - chance)


def stabilizing(predicted: Sequence[Sequence[int]], *, kappa: float = 0.99, window: int = 3) -> int | None:
    """The first round at which the mean agreement of the last `window` pairs of rounds is at least `kappa`."""
    pairs = [agreement(a, b) for a, b in pairwise(predicted)]
    return _first(pairs, window, lambda last: sum(last) / window >= kappa, offset=1)


def certain(uncertainty: Sequence[float], *, below: float = 0.2) -> int | None:
    """The first round whose mean uncertainty, in nats, is below a threshold."""
    return _first(uncertainty, 1, lambda last: last[0] < below, offset=0)


def gain(accuracy: Sequence[float], *, below: float = 0.005, window: int = 3) -> int | None:
    """The first round at which the expected gain of a query, the mean over the last `window`, is below a threshold."""
    gains = [b - a for a, b in pairwise(accuracy)]
    return _first(gains, window, lambda last: sum(last) / window < below, offset=1)


#: Criterion by the name that a configuration gives it, and its options with their defaults.
CRITERIA: Mapping[str, Mapping[str, float]] = {
    "stabilizing": {"kappa": 0.99, "window": 3},
    "uncertainty": {"below": 0.2},
    "gain": {"below": 0.005, "window": 3},
}


def stop_rule(name: str, options: Mapping[str, Any]) -> StopRule | None:
    """A rule that ends a run once a criterion is met.

    Args:
        name: "never", or a criterion of `CRITERIA`.
        options: Options of the criterion that replace its defaults.

    Returns:
        The rule; None for "never".

    Raises:
        UserError: No criterion has the name, or an option is unknown or its value wrong.
    """
    if name == "never" and not options:
        return None
    known = CRITERIA.get(name, {})
    if (name not in CRITERIA and name != "never") or set(options) - set(known):
        raise UserError(
            f"active.stop_when = {name!r} with {', '.join(options) or 'no options'}",
            "never, or " + ", ".join(f"{key} ({', '.join(values)})" for key, values in CRITERIA.items()),
            "correct active.stop_when or active.stop_options",
        )
    values = {**known, **options}
    for key, value in values.items():
        whole = key == "window"
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or (whole and value < 1):
            expected = "a whole number of at least 1" if whole else "a number"
            raise UserError(f"active.stop_options: {key} = {value!r}", expected, f"correct {key}")

    def met(summaries: Sequence[RoundSummary]) -> bool:
        if name == "stabilizing":
            return stabilizing([s.predicted for s in summaries], **values) is not None
        if name == "uncertainty":
            return certain([s.uncertainty for s in summaries], **values) is not None
        return gain([s.val_accuracy for s in summaries], **values) is not None

    return met


def stopping_points(
    run: Path, *, kappa: float = 0.99, uncertainty: float = 0.2, smallest_gain: float = 0.005, window: int = 3
) -> list[StoppingPoint]:
    """Where each criterion would have ended a run.

    None of them looks at a test grade: the predictions and uncertainties of the test knees are used without their
    grades, and the gain is that of the validation knees. The cost is for the report alone.

    Args:
        run: A run folder.
        kappa: See `stabilizing`.
        uncertainty: See `certain`.
        smallest_gain: See `gain`.
        window: Rounds over which agreement and gain are averaged, at least 1.

    Raises:
        UserError: The folder holds no finished round.
    """
    folder = RunFolder(run)
    rounds = folder.rounds()
    if not rounds:
        raise UserError(f"{run} without rounds.csv", "a run folder with a finished round", "give the folder of a run")
    if window < 1:
        raise UserError(f"a window of {window} rounds", "at least 1", "correct --window")
    summaries = [RoundSummary.of(row, folder.predictions(row["round"])) for row in rounds]
    found = {
        "stabilizing predictions": stabilizing([s.predicted for s in summaries], kappa=kappa, window=window),
        "uncertainty": certain([s.uncertainty for s in summaries], below=uncertainty),
        "expected gain": gain([s.val_accuracy for s in summaries], below=smallest_gain, window=window),
    }
    return [_stopping_point(name, number, rounds) for name, number in found.items()]


def _stopping_point(name: str, number: int | None, rounds: Sequence[Mapping[str, Any]]) -> StoppingPoint:
    if number is None:
        return StoppingPoint(name, None)
    here, last = rounds[number], rounds[-1]
    cost = last["test_balanced_accuracy"] - here["test_balanced_accuracy"]
    return StoppingPoint(name, here["round"], here["n_labeled"], last["n_labeled"] - here["n_labeled"], cost)


def _first(
    values: Sequence[float], window: int, enough: Callable[[Sequence[float]], bool], *, offset: int
) -> int | None:
    ends = range(window, len(values) + 1)
    return next((end - 1 + offset for end in ends if enough(values[end - window : end])), None)
