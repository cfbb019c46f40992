"""When labeling could have stopped: criteria on a run folder, and rules that end a run where that is asked for.

References:
    Bloodgood and Vijay-Shanker, "A Method for Stopping Active Learning Based on Stabilizing Predictions and the Need
    for User-Adjustable Stopping", CoNLL 2009.
    Zhu, Wang, Hovy and Ma, "Confidence-Based Stopping Criteria for Active Learning for Data Annotation", ACM
    Transactions on Speech and Language Processing 6 (3), 2010.
    Laws and Schuetze, "Stopping Criteria for Active Learning of Named Entity Recognition", COLING 2008 (the gain).
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from kneeal.errors import UserError
from kneeal.loop.stop import Standing, StopRule


@dataclass(frozen=True)
class Verdict:
    """What a criterion says of a run.

    Attributes:
        criterion: Its name.
        round: The first round after whose fit one could have stopped; None if there is none.
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
        options: Of the criterion, in the place of its defaults.

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

    def met(standings: Sequence[Standing]) -> bool:
        if name == "stabilizing":
            return stabilizing([s.predicted for s in standings], **values) is not None
        if name == "uncertainty":
            return certain([s.uncertainty for s in standings], **values) is not None
        return gain([s.val_accuracy for s in standings], **values) is not None

    return met


def verdicts(
    run: Path, *, kappa: float = 0.99, uncertainty: float = 0.2, smallest_gain: float = 0.005, window: int = 3
) -> list[Verdict]:
    """What each criterion says of a run.

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
    if not (run / "rounds.csv").is_file():
        raise UserError(f"{run} without rounds.csv", "a run folder with a finished round", "give the folder of a run")
    if window < 1:
        raise UserError(f"a window of {window} rounds", "at least 1", "correct --window")
    rounds = _read(run / "rounds.csv")
    tables = [_read(run / "rounds" / f"{int(row['round']):03d}" / "test_predictions.csv") for row in rounds]
    grades = [name for name in tables[0][0] if name[:1] == "p" and name[1:].isdigit()]
    predicted = [[max(range(len(grades)), key=lambda g: float(knee[grades[g]])) for knee in t] for t in tables]
    unsure = [sum(float(knee["uncertainty"]) for knee in t) / len(t) for t in tables]
    found = {
        "stabilizing predictions": stabilizing(predicted, kappa=kappa, window=window),
        "uncertainty": certain(unsure, below=uncertainty),
        "expected gain": gain([float(r["val_balanced_accuracy"]) for r in rounds], below=smallest_gain, window=window),
    }
    return [_verdict(name, number, rounds) for name, number in found.items()]


def _verdict(name: str, number: int | None, rounds: Sequence[Mapping[str, str]]) -> Verdict:
    if number is None:
        return Verdict(name, None)
    here, last = rounds[number], rounds[-1]
    n_labeled = int(here["n_labeled"])
    cost = float(last["test_balanced_accuracy"]) - float(here["test_balanced_accuracy"])
    return Verdict(name, int(here["round"]), n_labeled, int(last["n_labeled"]) - n_labeled, cost)


def _first(
    values: Sequence[float], window: int, enough: Callable[[Sequence[float]], bool], *, offset: int
) -> int | None:
    ends = range(window, len(values) + 1)
    return next((end - 1 + offset for end in ends if enough(values[end - window : end])), None)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
