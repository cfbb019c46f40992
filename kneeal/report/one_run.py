"""The table and the figures of one run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe and Ito's colours, which the colour-blind can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7")
GREY = "#777777"

_COLUMNS = (
    # heading, column of rounds.csv, factor, format
    ("round", "round", 1, "{:.0f}"),
    ("labels", "n_labeled", 1, "{:.0f}"),
    ("pseudo", "n_pseudo", 1, "{:.0f}"),
    ("val BA %", "val_balanced_accuracy", 100, "{:.1f}"),
    ("test BA %", "test_balanced_accuracy", 100, "{:.1f}"),
    ("kappa", "test_quadratic_kappa", 1, "{:.3f}"),
    ("MAE", "test_mae", 1, "{:.2f}"),
    ("ECE", "test_ece", 1, "{:.3f}"),
    ("NLL", "test_nll", 1, "{:.2f}"),
    ("fit s", "fit_seconds", 1, "{:.1f}"),
    ("predict s", "predict_seconds", 1, "{:.1f}"),
)


def rounds_table(rows: pd.DataFrame) -> str:
    """One line a round.

    Args:
        rows: rounds.csv.

    Returns:
        Text of less than 100 columns; BA is balanced accuracy.
    """
    table = [[heading for heading, *_ in _COLUMNS]]
    for _, row in rows.iterrows():
        table.append([_cell(row.get(column), factor, form) for _, column, factor, form in _COLUMNS])
    widths = [max(len(line[k]) for line in table) for k in range(len(_COLUMNS))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table)


def _cell(value: float | None, factor: int, form: str) -> str:
    return "-" if value is None or pd.isna(value) else form.format(value * factor)


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
    rows = pd.read_csv(run / "rounds.csv")
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
        draw(axes, run, rows)
        path = out / f"{name}.png"
        figure.savefig(path, dpi=150)
        paths.append(path)
    return paths


def _learning_curve(axes: Axes, run: Path, rows: pd.DataFrame) -> None:
    axes.plot(rows["n_labeled"], 100 * rows["test_balanced_accuracy"], "o-", color=COLOURS[0], label="test")
    axes.plot(
        rows["n_labeled"], 100 * rows["val_balanced_accuracy"], "o:", color=COLOURS[1], label="validation, best epoch"
    )
    axes.axhline(20, color=GREY, linestyle="--", linewidth=1, label="chance")
    axes.set(xlabel="labeled knees", ylabel="balanced accuracy (%)", title="Learning curve")
    axes.legend(frameon=False)


def _uncertainty(axes: Axes, run: Path, rows: pd.DataFrame) -> None:
    rounds = sorted({int(rows["round"].iloc[k * (len(rows) - 1) // 3]) for k in range(4)})
    for colour, number in zip(COLOURS, rounds, strict=False):
        table = pd.read_csv(run / "rounds" / f"{number:03d}" / "test_predictions.csv")
        n_labeled = int(rows.loc[rows["round"] == number, "n_labeled"].iloc[0])
        axes.hist(
            table["uncertainty"],
            bins=30,
            range=(0, 1.61),
            histtype="step",
            linewidth=1.8,
            color=colour,
            label=f"{n_labeled} labels",
        )
    axes.set(xlabel="predictive entropy of a test knee (nats)", ylabel="knees", title="Uncertainty on the test set")
    axes.legend(frameon=False)


def _queried_grades(axes: Axes, run: Path, rows: pd.DataFrame) -> None:
    folders = [run / "start", *(run / "rounds" / f"{int(number):03d}" for number in rows["round"])]
    answered = [json.loads(p.read_text()) for folder in folders if (p := folder / "answers.json").is_file()]
    bottom = [0] * len(answered)
    for grade, colour in enumerate(COLOURS):
        counts = [sum(kl == grade for kl in answers.values()) for answers in answered]
        axes.bar(range(len(answered)), counts, bottom=bottom, color=colour, label=f"KL {grade}", width=0.8)
        bottom = [b + c for b, c in zip(bottom, counts, strict=True)]
    names = ["first", *(str(k) for k in range(1, len(answered)))]
    axes.set_xticks(range(len(answered)), names)
    axes.set(xlabel="query", ylabel="knees asked for", title="Grades of the queried knees")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True)
