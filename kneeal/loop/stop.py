"""What a rule that may end a run before its budget is spent gets to see: never a test grade."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kneeal.loop.folder import METRICS, TEST_PREDICTIONS, RunFolder
from kneeal.loop.runner import Evaluation


@dataclass(frozen=True)
class Standing:
    """Where a run stood after the fit of a round.

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


#: From the standings of all rounds so far, oldest first, to whether to ask for no more labels.
StopRule = Callable[[Sequence[Standing]], bool]


def standing(row: Mapping[str, Any], evaluation: Evaluation) -> Standing:
    """The standing of a round that was just evaluated; `row` is what goes into metrics.json."""
    # As it will be read back from the table, so that a resumed run decides as one that was never interrupted.
    probs = [[_rounded(p) for p in knee] for knee in evaluation.probs.tolist()]
    return _standing(row, probs, [_rounded(u) for u in evaluation.uncertainty.tolist()])


def read_standings(folder: RunFolder, rounds: int) -> dict[int, Standing]:
    """The standings on disk of rounds 0 to `rounds` - 1, without those not evaluated yet."""
    found = {}
    for number in range(rounds):
        place = folder.round(number)
        if (place / METRICS).is_file():
            row = folder.read_json(place / METRICS)["row"]
            with (place / TEST_PREDICTIONS).open(encoding="utf-8", newline="") as file:
                table = list(csv.DictReader(file))
            grades = [name for name in table[0] if name[:1] == "p" and name[1:].isdigit()]
            probs = [[float(knee[grade]) for grade in grades] for knee in table]
            found[number] = _standing(row, probs, [float(knee["uncertainty"]) for knee in table])
    return found


def _standing(row: Mapping[str, Any], probs: Sequence[Sequence[float]], uncertainty: Sequence[float]) -> Standing:
    predicted = tuple(max(range(len(knee)), key=knee.__getitem__) for knee in probs)
    mean = sum(uncertainty) / len(uncertainty)
    return Standing(int(row["n_labeled"]), predicted, mean, float(row["val_balanced_accuracy"]))


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
