"""Strategies against each other, paired by seed and test knee."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from kneeal.report.runs import Runs, Setting
from kneeal.report.text import TextTable
from kneeal.stats.paired import (
    Array,
    Difference,
    TestSet,
    balanced_accuracy,
    clustered_bootstrap,
    holm,
    patient_permutation_tests,
    sign_flip_test,
)

LEVEL = 0.05
#: The smallest p-value of the permutation test, corrected for all comparisons, is at most `LEVEL` over this.
_MARGIN = 5


@dataclass(frozen=True)
class Comparison:
    """One setting against another at one label count, in balanced accuracy.

    Attributes:
        a: The first.
        b: The second.
        seeds: Seeds that both have.
        by_seed: A minus B for each of them.
        difference: A minus B with a 95 % interval over patients and seeds.
        p_patients: Of the permutation test over patients, as it is.
        p_seeds: Of the sign-flip test over seeds, as it is.
        p_holm: p_patients corrected for all comparisons of the table.
    """

    a: str
    b: str
    seeds: tuple[int, ...]
    by_seed: tuple[float, ...]
    difference: Difference
    p_patients: float
    p_seeds: float
    p_holm: float = float("nan")

    @property
    def winner(self) -> str:
        """Who wins, empty if nobody does.

        A win takes all three: every seed says the same, the interval excludes 0, and the corrected p-value over
        patients is below 5 %.
        """
        same = all(d > 0 for d in self.by_seed) or all(d < 0 for d in self.by_seed)
        clear = self.difference.low > 0 or self.difference.high < 0
        if not (same and clear and self.p_holm < LEVEL):
            return ""
        return self.a if self.difference.mean > 0 else self.b


def compare(runs: Runs, n_labeled: int, patients: Mapping[str, str]) -> list[Comparison]:
    """Every pair of settings that have rounds at exactly this label count; the baseline of all labels stays out.

    Args:
        runs: The runs.
        n_labeled: Label count.
        patients: Knee id to patient id.
    """
    test = runs.settings[0].first.predictions(int(runs.settings[0].first.rounds["round"].iloc[0]))
    test_set = TestSet.of(test.kl.tolist(), [patients[i] for i in test.ids])
    hits = {s.label: by_seed for s in runs.curves if (by_seed := _hits(s, n_labeled, test_set))}
    pairs: list[tuple[Array, Array]] = []
    found: list[Comparison] = []
    for a, b in itertools.combinations(hits, 2):
        seeds = tuple(seed for seed in hits[a] if seed in hits[b])
        if not seeds:
            continue
        left, right = (np.concatenate([hits[name][seed] for seed in seeds]) for name in (a, b))
        pairs.append((left, right))
        differences = balanced_accuracy(left, test_set.support) - balanced_accuracy(right, test_set.support)
        found.append(
            Comparison(
                a, b, seeds, tuple(map(float, differences)),
                clustered_bootstrap(left, right, test_set.support, n_resamples=1000),
                float("nan"), sign_flip_test(differences.tolist()),
            )
        )  # fmt: skip
    swaps = max(4999, math.ceil(_MARGIN * len(pairs) / LEVEL))
    p_values = patient_permutation_tests(pairs, test_set.support, n_permutations=swaps)
    return [replace(c, p_patients=p, p_holm=q) for c, p, q in zip(found, p_values, holm(p_values), strict=True)]


def _hits(setting: Setting, n_labeled: int, test_set: TestSet) -> dict[int, Array]:
    """[1, P, C] hits by seed."""
    found = {}
    for seed, run in setting.runs.items():
        number = run.round_at(n_labeled)
        if number is not None:
            predictions = run.predictions(number)
            found[seed] = test_set.hits((predictions.probs.argmax(axis=1) == predictions.kl)[None])
    return found


def comparison_table(comparisons: list[Comparison], n_labeled: int) -> TextTable:
    """Every comparison with its numbers."""
    rows = [
        [
            f"{c.a} vs {c.b}", f"{100 * c.difference.mean:+.2f}",
            f"[{100 * c.difference.low:+.2f}, {100 * c.difference.high:+.2f}]",
            f"{sum(d > 0 for d in c.by_seed)}/{len(c.seeds)}", _small(c.p_patients), _small(c.p_holm),
            f"{c.p_seeds:.4f}", c.winner or "-",
        ]
        for c in comparisons
    ]  # fmt: skip
    n = max((len(c.seeds) for c in comparisons), default=0)
    return TextTable(
        f"paired differences in balanced accuracy (percentage points) at {n_labeled} labels",
        ["A vs B", "A - B", "95 % interval", "seeds A > B", "p patients", "p Holm", "p seeds", "wins"],
        rows,
        [
            "",
            "interval: bootstrap over patients and seeds; p patients: permutation test over patients of these trained "
            "networks; p Holm: the same, corrected for all rows; p seeds: sign flips over seeds, "
            f"which with {n} seed{'s' * (n != 1)} cannot be below {2.0 ** (1 - n) if n else 1:.4f}.",
            "A win takes every seed of one sign, an interval without 0, and p Holm below 0.05.",
        ],
    )


def _small(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else "<0.0001"


def win_matrix(comparisons: list[Comparison]) -> TextTable:
    """Row against column: difference in percentage points, with * where the row wins and ° where the column does."""
    names = list(dict.fromkeys(name for c in comparisons for name in (c.a, c.b)))
    cells = {}
    for c in comparisons:
        for row, column, sign in ((c.a, c.b, 1), (c.b, c.a, -1)):
            mark = "" if not c.winner else "*" if c.winner == row else "°"
            cells[row, column] = f"{100 * sign * c.difference.mean:+.1f}{mark}"
    wins = {name: sum(c.winner == name for c in comparisons) for name in names}
    losses = {name: sum(c.winner not in ("", name) and name in (c.a, c.b) for c in comparisons) for name in names}
    rows = [[a, *(cells.get((a, b), "") for b in names), f"{wins[a]}", f"{losses[a]}"] for a in names]
    return TextTable(
        "row minus column in percentage points; * the row wins, ° the column wins",
        ["", *names, "wins", "losses"], rows,
    )  # fmt: skip
