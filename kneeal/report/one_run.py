"""The table and the figures of one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kneeal.loop.folder import RunFolder
from kneeal.report.colors import COLORS, GREY
from kneeal.report.drawing import entropy_histogram, grade_bars, legend, panels, save_figures, span_at_least, title
from kneeal.report.queries import shares
from kneeal.report.text import TextTable, fixed
from kneeal.stats.crossed import Estimate, TestSet
from kneeal.stats.metrics import METRICS, describe
from kneeal.tables import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COUNTS = {"n_labeled": "labels", "n_graded": "graded", "n_pseudo": "pseudo"}
_SECONDS = {"fit_seconds": "fit s", "predict_seconds": "predict s"}


def rounds_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """rounds.csv as text of less than 100 columns, a line for each round from 1; BA is balanced accuracy."""
    metrics = [m for m in METRICS.values() if m.short]
    header = ["round", *_COUNTS.values(), "val BA %", *(f"test {m.short}" if m.percent else m.short for m in metrics)]
    columns = ["val_balanced_accuracy", *(f"test_{m.name}" for m in metrics)]
    table = [
        [
            str(row["round"] + 1),
            *(_cell(row.get(name), 0) for name in _COUNTS),
            *(_cell(row.get(c), 1 if describe(c).percent else 3, describe(c).factor) for c in columns),
            *(_cell(row.get(name), 1) for name in _SECONDS),
        ]
        for row in rows
    ]
    return TextTable("", [*header, *_SECONDS.values()], table).text().strip("\n")


def _cell(value: float | None, digits: int, factor: int = 1) -> str:
    return "-" if value is None or pd.isna(value) else fixed(factor * value, digits)


def draw_run_figures(run: Path, out: Path, pool: Iterable[int | None]) -> list[Path]:
    """Draw learning curve, uncertainty and queried grades of a run with a finished round; returns the PNG files.

    `pool` has the grades of the training knees, None where one is not known.
    """
    folder = RunFolder(run)
    figures = {
        "learning_curve": _learning_curve(folder),
        "uncertainty": _uncertainty(folder),
        "queried_grades": _queried_grades(folder, pool),
    }
    return save_figures(figures, out)


def _learning_curve(run: RunFolder) -> Figure:
    """Test accuracy with its interval over the test patients, validation, chance, and random querying where known."""
    figure, (ax,) = panels(1, width=6.8, height=4.0)
    rows = run.rounds()
    labels = [row["n_labeled"] for row in rows]
    values = [100 * row["test_balanced_accuracy"] for row in rows]
    ends = [_interval(run, row["round"]) for row in rows]
    low, high = ([100 * end[k] for end in ends] for k in (0, 1))
    ax.fill_between(labels, low, high, color=COLORS[0], alpha=0.15, linewidth=0, label="95 % interval, test patients")
    ax.plot(labels, values, "o-", color=COLORS[0], label="test")
    validation = [100 * row.get("val_balanced_accuracy", float("nan")) for row in rows]
    if any(row.get("val_balanced_accuracy") is not None for row in rows):
        ax.plot(labels, validation, ":", color=COLORS[4], label="validation, best epoch")
    beside = _random_beside(run)
    if beside:
        others = [100 * row["test_balanced_accuracy"] for row in beside]
        ax.plot(
            [row["n_labeled"] for row in beside], others, "s--", color=GREY, markersize=4, label="random, same seed"
        )
        values = values + others
    chance = 100 / len(run.predictions(rows[-1]["round"]).probs[0])
    ax.axhline(chance, color=GREY, linestyle=":", linewidth=1, label="chance")
    span_at_least(ax, [*values, *low, *high, *validation], chance)
    settings = run.config() if run.exists else {}
    strategy = settings.get("active", {}).get("strategy", "")
    n_test = len(run.predictions(rows[-1]["round"]).kl)
    parts = [strategy, f"seed {settings.get('seed', 0)}", count(n_test, "test knee")]
    title(ax, ", ".join(filter(None, parts)), width=80)
    ax.set(xlabel="labeled knees", ylabel="balanced accuracy (%)")
    legend(figure, [ax])
    return figure


def _interval(run: RunFolder, number: int) -> tuple[float, float]:
    """Of the balanced accuracy of a round's network, over test patients: a knee is named <patient>_<side>."""
    found = run.predictions(number)
    test_set = TestSet.of(found.kl, [i.rpartition("_")[0] or i for i in found.ids])
    correct = np.array([found.predicted]) == np.array(found.kl)
    return Estimate.of(test_set.balanced_accuracy(correct)).interval()


def _random_beside(run: RunFolder) -> list[dict[str, Any]]:
    """Rounds of the run in the next folder that queries at random and else has this one's data, seed and schedule.

    Of two, that with the consistency of this run; none without such a run.
    """

    def consistency(tree: Mapping[str, Any]) -> Any:
        return tree.get("loss", {}).get("consistency")

    def shared(other: RunFolder, tree: Mapping[str, Any]) -> tuple[Any, ...]:
        schedule = (tree["active"].get(name) for name in ("n_init", "n_query", "budget"))
        return other.dataset(), tree.get("seed"), *schedule

    if not run.exists:
        return []
    own = run.config()
    others = [
        RunFolder(path) for path in sorted(run.path.resolve().parent.glob("*random*")) if path != run.path.resolve()
    ]
    found = [
        (other, tree)
        for other in others
        if other.exists
        and (tree := other.config())["active"]["strategy"] == "random"
        and shared(other, tree) == shared(run, own)
    ]
    found.sort(key=lambda pair: consistency(pair[1]) != consistency(own))
    return found[0][0].rounds() if found else []


def _uncertainty(run: RunFolder) -> Figure:
    """Predictive entropy on the test set, a panel for each of four rounds over the run."""
    rows = run.rounds()
    chosen = [rows[k] for k in sorted({round(k * (len(rows) - 1) / 3) for k in range(4)})]
    figure, axes = panels(len(chosen), width=2.6, height=2.6)
    for ax, row in zip(axes, chosen, strict=True):
        entropy_histogram(ax, run.predictions(row["round"]).uncertainty, COLORS[0], "test knees")
        title(ax, count(row["n_labeled"], "label"))
    axes[0].set_ylabel("test knees (%)")
    return figure


def _queried_grades(run: RunFolder, pool: Iterable[int | None]) -> Figure | None:
    """Share of each grade in each query, beside its share of the pool."""
    known = [found for q in run.queries() if (found := shares(q.grades))]
    if not known:
        return None
    figure, (ax,) = panels(1, width=6.8, height=3.6)
    grade_bars(ax, np.array(known), shares(pool))
    title(ax, "grades of the queried knees", width=80)
    legend(figure, [ax], reverse=True)
    return figure
