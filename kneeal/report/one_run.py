"""The table and the figures of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kneeal.loop.folder import RunFolder
from kneeal.report.text import TextTable, fixed
from kneeal.stats.metrics import METRICS, describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe and Ito's colours, which the colour-blind can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7")
GREY = "#777777"

_COUNTS = {"round": "round", "n_labeled": "labels", "n_pseudo": "pseudo"}
_SECONDS = {"fit_seconds": "fit s", "predict_seconds": "predict s"}


def rounds_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line per round.

    Args:
        rows: rounds.csv.

    Returns:
        Text of less than 100 columns; BA is balanced accuracy.
    """
    metrics = [m for m in METRICS.values() if m.short]
    header = [*_COUNTS.values(), "val BA %", *(f"test {m.short}" if m.percent else m.short for m in metrics)]
    columns = ["val_balanced_accuracy", *(f"test_{m.name}" for m in metrics)]
    table = [
        [
            *(_cell(row.get(name), 0) for name in _COUNTS),
            *(_cell(row.get(c), 1 if describe(c).percent else 3, describe(c).factor) for c in columns),
            *(_cell(row.get(name), 1) for name in _SECONDS),
        ]
        for row in rows
    ]
    return TextTable("", [*header, *_SECONDS.values()], table).text().lstrip("\n")


def _cell(value: float | None, digits: int, factor: int = 1) -> str:
    return "-" if value is None or pd.isna(value) else fixed(factor * value, digits)


def draw_run_figures(run: Path, out: Path) -> list[Path]:
    """Draw learning curve, uncertainty and queried grades of a run.

    Args:
        run: A run folder with at least one finished round.
        out: Where the PNG files go; made if need be.

    Returns:
        Their paths.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    out.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(run)
    rows = pd.DataFrame(folder.rounds())
    paths = []
    for name, draw in (
        ("learning_curve", _learning_curve),
        ("uncertainty", _uncertainty),
        ("queried_grades", _queried_grades),
    ):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes, folder, rows)
        path = out / f"{name}.png"
        figure.savefig(path, dpi=150)
        paths.append(path)
    return paths


def _learning_curve(axes: Axes, run: RunFolder, rows: pd.DataFrame) -> None:
    axes.plot(rows["n_labeled"], 100 * rows["test_balanced_accuracy"], "o-", color=COLOURS[0], label="test")
    axes.plot(
        rows["n_labeled"], 100 * rows["val_balanced_accuracy"], "o:", color=COLOURS[1], label="validation, best epoch"
    )
    axes.axhline(20, color=GREY, linestyle="--", linewidth=1, label="chance")
    axes.set(xlabel="labeled knees", ylabel="balanced accuracy (%)", title="Learning curve")
    axes.legend(frameon=False)


def _uncertainty(axes: Axes, run: RunFolder, rows: pd.DataFrame) -> None:
    rounds = sorted({int(rows["round"].iloc[k * (len(rows) - 1) // 3]) for k in range(4)})
    for colour, number in zip(COLOURS, rounds, strict=False):
        n_labeled = int(rows.loc[rows["round"] == number, "n_labeled"].iloc[0])
        axes.hist(
            run.predictions(number).uncertainty,
            bins=30,
            range=(0, 1.61),
            histtype="step",
            linewidth=1.8,
            color=colour,
            label=f"{n_labeled} labels",
        )
    axes.set(xlabel="predictive entropy of a test knee (nats)", ylabel="knees", title="Uncertainty on the test set")
    axes.legend(frameon=False)


def _queried_grades(axes: Axes, run: RunFolder, rows: pd.DataFrame) -> None:
    answered = [q.grades for q in run.queries() if any(kl is not None for kl in q.grades)]
    bottom = [0] * len(answered)
    for grade, colour in enumerate(COLOURS):
        counts = [grades.count(grade) for grades in answered]
        axes.bar(range(len(answered)), counts, bottom=bottom, color=colour, label=f"KL {grade}", width=0.8)
        bottom = [b + c for b, c in zip(bottom, counts, strict=True)]
    names = ["first", *(str(k) for k in range(1, len(answered)))]
    axes.set_xticks(range(len(answered)), names)
    axes.set(xlabel="query", ylabel="knees asked for", title="Grades of the queried knees")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True)
