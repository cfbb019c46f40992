"""When labeling could have stopped: criteria on a run folder, and rules that end a run where that is asked for.

References:
    Bloodgood and Vijay-Shanker, "A Method for Stopping Active Learning Based on Stabilizing Predictions and the Need
    for User-Adjustable Stopping", CoNLL 2009.
    Zhu, Wang, Hovy and Ma, "Confidence-Based Stopping Criteria for Active Learning for Data Annotation", ACM
    Transactions on Speech and Language Processing 6 (3), 2010.
    Laws and Schuetze, "Stopping Criteria for Active Learning of Named Entity Recognition", COLING 2008 (the gain).
"""

import inspect
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from kneeal.errors import UserError
from kneeal.loop.folder import RunFolder

#: Rows of rounds.csv so far, oldest first. Criteria read `pool_agreement`, `pool_uncertainty` and
#: `val_balanced_accuracy` alone: the unlabeled and the validation knees decide, the test knees never do.
Rows = Sequence[Mapping[str, Any]]
#: Whether to ask for no more labels.
StopRule = Callable[[Rows], bool]


@dataclass(frozen=True)
class StoppingPoint:
    """Where a criterion would have ended a run."""

    criterion: str  #: Its name.
    known: bool  #: Whether the run has what the criterion reads.
    round: int | None = None  #: The first round whose fit meets the criterion; None if no round does.
    n_labeled: int | None = None  #: Labels in that round.
    labels_saved: int | None = None  #: Labels that the run asked for afterwards.
    #: Test balanced accuracy of the last round minus that of this one: what stopping would have lost.
    cost: float | None = None


def cohen_kappa(first: Sequence[int], second: Sequence[int]) -> float:
    """Cohen's kappa of two lists of grades, at most 1; 1 where both give one and the same grade throughout."""
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    counts, others = Counter(first), Counter(second)
    chance = sum(counts[g] * others[g] for g in counts) / n**2
    return 1.0 if chance == 1.0 else (observed - chance) / (1.0 - chance)


def stabilizing(rows: Rows, *, kappa: float = 0.99, window: int = 3) -> int | None:
    """The first round at which the mean agreement of the last `window` pairs of rounds is at least `kappa`."""
    return _first(_column(rows, "pool_agreement"), window, lambda mean: mean >= kappa)


def certain(rows: Rows, *, below: float = 0.2) -> int | None:
    """The first round whose mean uncertainty of the pool, in nats, is below a threshold."""
    return _first(_column(rows, "pool_uncertainty"), 1, lambda mean: mean < below)


def gain(rows: Rows, *, below: float = 0.005, window: int = 3) -> int | None:
    """The first round at which the expected gain of a query, the mean over the last `window`, is below a threshold."""
    accuracy = _column(rows, "val_balanced_accuracy")
    return _first([math.nan, *(b - a for a, b in pairwise(accuracy))], window, lambda mean: mean < below)


#: Criterion by the name that a configuration gives it; its keyword arguments are its options.
CRITERIA: Mapping[str, Callable[..., int | None]] = {"stabilizing": stabilizing, "uncertainty": certain, "gain": gain}


def stop_rule(name: str, options: Mapping[str, Any]) -> StopRule | None:
    """A rule that ends a run once a criterion is met, whose options replace its defaults; None for "never"."""
    known = {
        key: [p.name for p in inspect.signature(criterion).parameters.values() if p.kind is p.KEYWORD_ONLY]
        for key, criterion in CRITERIA.items()
    }
    if unknown := set(options) - set(known.get(name, ())):
        raise UserError(
            f"active.stop_when = {name!r} with {', '.join(sorted(unknown))}",
            "never, or " + ", ".join(f"{key} ({', '.join(values)})" for key, values in known.items()),
            "correct active.stop_when or active.stop_options",
        )
    for key, value in options.items():
        whole = key == "window"
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or (whole and value < 1):
            expected = "a whole number of at least 1" if whole else "a number"
            raise UserError(f"active.stop_options: {key} = {value!r}", expected, f"correct {key}")
    return None if name == "never" else lambda rows: CRITERIA[name](rows, **options) is not None


def stopping_points(
    run: Path, *, kappa: float = 0.99, uncertainty: float = 0.2, smallest_gain: float = 0.005, window: int = 3
) -> list[StoppingPoint]:
    """Where each criterion would have ended a run. The cost, in test accuracy, is for the report alone.

    `kappa`, `uncertainty` and `smallest_gain` are the thresholds of `stabilizing`, `certain` and `gain`.
    """
    folder = RunFolder(run)
    rows = folder.rounds()
    if not rows:
        folder.check()
        raise UserError(f"no finished round in {run}", "a run with at least one", "continue the run first")
    if window < 1:
        raise UserError(f"a window of {window} rounds", "at least 1", "correct --window")
    found = {
        "stabilizing predictions": ("pool_agreement", stabilizing(rows, kappa=kappa, window=window)),
        "uncertainty": ("pool_uncertainty", certain(rows, below=uncertainty)),
        "expected gain": ("val_balanced_accuracy", gain(rows, below=smallest_gain, window=window)),
    }
    return [_stopping_point(name, column, number, rows) for name, (column, number) in found.items()]


def _stopping_point(name: str, column: str, number: int | None, rows: Rows) -> StoppingPoint:
    if number is None:
        return StoppingPoint(name, known=not all(map(math.isnan, _column(rows, column))))
    here, last = rows[number], rows[-1]
    cost = last["test_balanced_accuracy"] - here["test_balanced_accuracy"]
    return StoppingPoint(name, True, here["round"], here["n_labeled"], last["n_labeled"] - here["n_labeled"], cost)


def _column(rows: Rows, name: str) -> list[float]:
    """A column of rounds.csv; NaN for a missing value."""
    return [float(row.get(name, math.nan)) for row in rows]


def _first(values: Sequence[float], window: int, enough: Callable[[float], bool]) -> int | None:
    """The first round at which the mean of the last `window` values is enough, which no NaN is."""
    ends = range(window, len(values) + 1)
    return next((end - 1 for end in ends if enough(sum(values[end - window : end]) / window)), None)
