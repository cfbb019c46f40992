"""Strategies against each other, paired by seed and test patient, and corrected for their number."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kneeal.report.runs import Runs, Setting
from kneeal.report.text import TextTable, fixed
from kneeal.stats.crossed import MAX_SEEDS, Accuracies, Estimate, TestSet, holm

#: Level of a family of comparisons. Below the 5 % of reports of equal strategies that may show any win at all, which
#: leaves room for seeds that are not normal.
LEVEL = 0.03
#: A difference in balanced accuracy that most readers would act upon.
MEANINGFUL = 0.02


@dataclass(frozen=True)
class Comparison:
    """One setting against another."""

    a: str  #: The first.
    b: str  #: The second.
    by_seed: tuple[float, ...]  #: A minus B, for each seed that both have.
    estimate: Estimate  #: A minus B over seeds and patients.
    p_family: float  #: Its p-value after Holm's correction for all comparisons of the family.
    level: float  #: Of one comparison, corrected for their number.

    @property
    def needed(self) -> int | None:
        """Seeds that would probably detect a true difference of this size; None beyond `MAX_SEEDS`."""
        needed = self.estimate.seeds_needed(self.level)
        return needed and max(needed, self.estimate.n_seeds + 1)

    @property
    def winner(self) -> str:
        """Who wins; empty if undecided."""
        if not self.p_family < LEVEL:
            return ""
        return self.a if self.estimate.mean > 0 else self.b

    @property
    def verdict(self) -> str:
        """Of A: "win", "loss", or "cannot tell" with the seeds that would be needed."""
        if self.winner:
            return "win" if self.winner == self.a else "loss"
        return cannot_tell(self.estimate.n_seeds, self.needed)


def cannot_tell(n_seeds: int, needed: int | None) -> str:
    """The verdict of an undecided comparison, with the number of seeds that might decide it."""
    if n_seeds == 1:
        return "cannot tell (one seed)"
    return f"cannot tell (needs {f'about {needed}' if needed else f'over {MAX_SEEDS}'} seeds)"


def decide(differences: Mapping[tuple[str, str], Accuracies]) -> list[Comparison]:
    """Test a family of differences, A minus B by the names of A and B.

    Of families without any true difference, at most `LEVEL` show a win.
    """
    estimates = {pair: Estimate.of(measured) for pair, measured in differences.items()}
    corrected = holm([e.p_value for e in estimates.values()])
    return [
        Comparison(*pair, tuple(map(float, differences[pair].values)), e, p, LEVEL / len(estimates))
        for (pair, e), p in zip(estimates.items(), corrected, strict=True)
    ]


def compare_settings(runs: Runs, n_labeled: int, test_set: TestSet) -> list[Comparison]:
    """Every pair of settings that have rounds at exactly this label count; the baseline of all labels stays out."""
    measured = {s.label: by_seed for s in runs.curves if (by_seed := accuracies(s, [n_labeled], test_set))}
    pairs = itertools.combinations(measured, 2)
    return decide({(a, b): d for a, b in pairs if (d := difference(measured[a], measured[b])) is not None})


def accuracies(setting: Setting, counts: Sequence[int], test_set: TestSet) -> dict[int, Accuracies]:
    """Balanced accuracy by seed, mean over label counts; seeds without a round at one of them are left out."""
    found = {}
    for seed, run in setting.runs.items():
        rounds = {int(n): number for number, n in enumerate(run.rounds["n_labeled"])}
        if all(n in rounds for n in counts):
            correct = [np.array([run.predictions(rounds[n]).correct]) for n in counts]
            found[seed] = Accuracies.mean([test_set.balanced_accuracy(c) for c in correct])
    return found


def difference(a: Mapping[int, Accuracies], b: Mapping[int, Accuracies]) -> Accuracies | None:
    """A minus B over the seeds that both have; None where they share none."""
    seeds = [seed for seed in a if seed in b]
    if not seeds:
        return None
    return Accuracies.stack([a[seed] for seed in seeds]) - Accuracies.stack([b[seed] for seed in seeds])


def cells(c: Comparison) -> list[str]:
    """What a table says of a comparison: difference, interval, seeds above 0, corrected p-value, verdict."""
    low, high = c.estimate.interval()
    ends = "-" if c.estimate.n_seeds == 1 else f"[{fixed(100 * low, 2, sign=True)}, {fixed(100 * high, 2, sign=True)}]"
    above = f"{sum(d > 0 for d in c.by_seed)}/{len(c.by_seed)}"
    p = "<0.0001" if c.p_family < 0.0001 else f"{c.p_family:.4f}"
    return [fixed(100 * c.estimate.mean, 2, sign=True), ends, above, p, c.verdict]


#: Headings of `cells`.
HEADER = ("difference", "95 % interval", "seeds above", "p, corrected", "verdict")
WIN_RULE = (
    f"a win or loss takes a p-value below {LEVEL:.2f} after Holm's correction for all rows; the test counts training "
    "seeds and test patients as random, and an interval is of its row alone"
)


def comparison_table(comparisons: Sequence[Comparison], n_labeled: int) -> TextTable:
    """Every comparison with its numbers."""
    return TextTable(
        f"paired differences in balanced accuracy (percentage points) at {n_labeled} labels",
        ["A vs B", *HEADER],
        [[f"{c.a} vs {c.b}", *cells(c)] for c in comparisons],
        ["", WIN_RULE[0].upper() + WIN_RULE[1:] + ".", *([note] if (note := power_note(comparisons)) else [])],
    )


def count_losses(comparisons: Sequence[Comparison], name: str) -> int:
    """How many of its comparisons a setting loses."""
    return sum(c.winner not in ("", name) and name in (c.a, c.b) for c in comparisons)


def power_note(comparisons: Sequence[Comparison]) -> str:
    """How many seeds it takes to detect a difference that matters, at the spread of these runs."""
    known = [c.estimate for c in comparisons if c.estimate.n_seeds > 1]
    if not comparisons:
        return ""
    if not known:
        return "One seed cannot tell strategies apart: how far the seeds of a strategy lie from each other is unknown."
    spread = float(np.median([e.seeds * e.n_seeds for e in known]))
    patients = float(np.median([e.patients for e in known]))
    typical = Estimate(MEANINGFUL, spread / known[0].n_seeds, patients, known[0].n_seeds)
    needed = typical.seeds_needed(LEVEL / len(comparisons))
    return (
        f"Between the seeds, differences vary with a standard deviation of {100 * spread**0.5:.1f} points (median): to "
        f"find a true difference of {100 * MEANINGFUL:.0f} points in 4 of 5 studies takes "
        f"{f'about {needed}' if needed else f'over {MAX_SEEDS}'} seeds."
    )


def win_matrix(comparisons: Sequence[Comparison]) -> TextTable:
    """Row against column: difference in percentage points, with * where the row wins and ° where the column does."""
    names = list(dict.fromkeys(name for c in comparisons for name in (c.a, c.b)))
    marked = {}
    for c in comparisons:
        for row, column, sign in ((c.a, c.b, 1), (c.b, c.a, -1)):
            mark = "" if not c.winner else "*" if c.winner == row else "°"
            marked[row, column] = f"{fixed(100 * sign * c.estimate.mean, 1, sign=True)}{mark}"
    wins = {name: sum(c.winner == name for c in comparisons) for name in names}
    rows = [
        [a, *(marked.get((a, b), "") for b in names), f"{wins[a]}", f"{count_losses(comparisons, a)}"] for a in names
    ]
    return TextTable(
        "row minus column in percentage points; * the row wins, ° the column wins, else it cannot be told",
        ["", *names, "wins", "losses"], rows,
    )  # fmt: skip
