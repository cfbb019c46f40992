"""The table and the figures of one run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kneeal.data.grades import N_GRADES
from kneeal.errors import count
from kneeal.loop.folder import RunFolder
from kneeal.report.drawing import COLORS, GRAY, legend, panels, save_figures, span_at_least, title
from kneeal.report.figures import queried_grades, uncertainty
from kneeal.report.reading import read_runs
from kneeal.report.runs import Run, patient_in
from kneeal.report.text import TextTable, fixed
from kneeal.stats.crossed import Estimate, TestSet
from kneeal.stats.metrics import METRICS, find_metric

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
            *(_cell(row.get(c), 1 if find_metric(c).percent else 3, find_metric(c).factor) for c in columns),
            *(_cell(row.get(name), 1) for name in _SECONDS),
        ]
        for row in rows
    ]
    return TextTable("", [*header, *_SECONDS.values()], table).text().strip("\n")


def _cell(value: float | None, digits: int, factor: int = 1) -> str:
    return "-" if value is None or pd.isna(value) else fixed(factor * value, digits)


def draw_run_figures(run: Path, out: Path, kl: Mapping[str, int]) -> list[Path]:
    """Draw learning curve, uncertainty and queried grades of a run with a finished round; returns the PNG files.

    `kl` has the grades of the pool, as far as they are known.
    """
    runs = read_runs([run])
    figures = {
        "learning_curve": _learning_curve(runs.all[0]),
        "uncertainty": uncertainty(runs),
        "queried_grades": queried_grades(runs, kl),
    }
    return save_figures(figures, out)


def _learning_curve(run: Run) -> Figure:
    """Test accuracy with its interval over the test patients, validation, chance, and random querying where known."""
    figure, (ax,) = panels(1, width=6.8, height=4.0)
    labels, test = run.rounds["n_labeled"], 100 * run.rounds["test_balanced_accuracy"]
    found = [run.predictions(number) for number in range(len(labels))]
    test_set = TestSet.of(found[0].kl, [patient_in(i) for i in found[0].ids])
    accuracies = [test_set.balanced_accuracy(np.array([f.correct])) for f in found]
    low, high = 100 * np.array([Estimate.of(accuracy).interval() for accuracy in accuracies]).T
    ax.fill_between(labels, low, high, color=COLORS[0], alpha=0.15, linewidth=0, label="95 % interval, test patients")
    ax.plot(labels, test, "o-", color=COLORS[0], label="test")
    shown = [*test, *low, *high]
    if "val_balanced_accuracy" in run.rounds:
        validation = 100 * run.rounds["val_balanced_accuracy"]
        ax.plot(labels, validation, ":", color=COLORS[4], label="validation, best epoch")
        shown += validation.tolist()
    if beside := _random_beside(run.folder):
        others = [100 * row["test_balanced_accuracy"] for row in beside]
        at = [row["n_labeled"] for row in beside]
        ax.plot(at, others, "s--", color=GRAY, markersize=4, label="random, same seed")
        shown += others
    chance = 100 / N_GRADES
    ax.axhline(chance, color=GRAY, linestyle=":", linewidth=1, label="chance")
    span_at_least(ax, shown, chance)
    n_test = count(len(found[0].kl), "test knee")
    title(ax, f"{run.strategy}, seed {run.seed}, {n_test}", width=80)
    ax.set(xlabel="labeled knees", ylabel=METRICS["balanced_accuracy"].heading)
    legend(figure, [ax])
    return figure


def _random_beside(run: RunFolder) -> list[dict[str, Any]]:
    """Rounds of the run in the next folder that queries at random and else has this one's data, seed and schedule.

    Of two, that with the consistency of this run; none without such a run.
    """

    def shared(folder: RunFolder, tree: Mapping[str, Any]) -> tuple[Any, ...]:
        return folder.dataset(), tree["seed"], *(tree["active"].get(name) for name in ("n_init", "n_query", "budget"))

    own, place = run.config(), run.path.resolve()
    found = []
    for other in (RunFolder(path) for path in sorted(place.parent.glob("*random*")) if path != place):
        tree = other.config() if other.exists else {"active": {"strategy": ""}}
        if tree["active"]["strategy"] == "random" and shared(other, tree) == shared(run, own):
            found.append((tree["loss"]["consistency"] != own["loss"]["consistency"], other))
    return min(found, key=lambda pair: pair[0])[1].rounds() if found else []
