"""Figures over seeds: learning curves and uncertainty as the paper draws them, calibration, confusion, queries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kneeal.report.one_run import COLOURS, GREY
from kneeal.report.queries import N_GRADES, grade_shares, overlap_matrix
from kneeal.report.runs import Run, Runs, Setting
from kneeal.report.tables import find_random, last
from kneeal.report.text import heading
from kneeal.stats.calibration import calibration_curve
from kneeal.stats.metrics import describe
from kneeal.stats.summary import summarize_at

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: A calibration bin with fewer knees says nothing.
_FEW = 10
_FOR_PAPERS = ("learning_curves", "uncertainty")
NAIVE, CONSISTENT, RANDOM = COLOURS[1], COLOURS[0], GREY


def draw_figures(runs: Runs, metric: str, out: Path) -> list[Path]:
    """Every figure that the runs allow, as PNG; the paper's two as PDF too.

    Returns:
        The PNG files.
    """
    out.mkdir(parents=True, exist_ok=True)
    drawn = []
    figures: dict[str, Figure | None] = {
        "learning_curves": learning_curves(runs, metric),
        "uncertainty": uncertainty(runs),
        "queried_grades": queried_grades(runs),
        "overlap": overlap(runs),
        "calibration": calibration(runs),
        "confusion": confusion(runs),
    }
    for name, figure in figures.items():
        if figure is not None:
            # No time of making, so that the same runs give the same file.
            figure.savefig(out / f"{name}.png", dpi=150, metadata={"Software": None})
            if name in _FOR_PAPERS:
                figure.set_layout_engine("none")  # it is laid out by now
                figure.savefig(out / f"{name}.pdf", metadata={"CreationDate": None})
            drawn.append(out / f"{name}.png")
    return drawn


def learning_curves(runs: Runs, metric: str) -> Figure | None:
    """The paper's Figure 4: for each strategy naive against consistency against random, all labels as a dashed line."""
    random = find_random(runs)
    families: dict[str, list[Setting]] = {}
    for setting in runs.curves:
        if setting is not random:
            families.setdefault(setting.label.replace(" + CR", "", 1), []).append(setting)
    if not families:
        families = {s.label: [] for s in runs.curves}
    if not families:
        return None
    figure, axes = _panels(len(families), width=3.4, height=2.9)
    factor = describe(metric).factor
    for ax, (family, settings) in zip(axes, families.items(), strict=False):
        for setting in [*settings, *([random] if random else [])]:
            colour = RANDOM if setting is random else CONSISTENT if setting.first.consistency else NAIVE
            name = setting.label if setting is random else "consistency" if setting.first.consistency else "naive"
            _band(ax, setting, metric, factor, colour, name)
        for baseline in runs.baselines:
            found = last(baseline, metric)
            if found is not None:
                ax.axhline(factor * found.mean, color="black", linestyle="--", linewidth=1, label=baseline.label)
        ax.set_title(family)
        ax.set_xlabel("labeled knees")
        ax.set_ylabel(heading(metric))
    _legend(figure, axes)
    return figure


def _band(ax: Axes, setting: Setting, metric: str, factor: float, colour: str, name: str) -> None:
    curves = setting.curves(metric)
    counts = sorted({int(n) for curve in curves.values() for n in curve.n_labeled})
    found = [(n, s) for n in counts if (s := summarize_at(curves, n)) is not None]
    x = [n for n, _ in found]
    y = np.array([factor * s.mean for _, s in found])
    e = np.array([factor * (s.error or 0.0) for _, s in found])
    ax.plot(x, y, "o-", color=colour, linewidth=1.6, markersize=3, label=name)
    ax.fill_between(x, y - e, y + e, color=colour, alpha=0.2, linewidth=0)


def uncertainty(runs: Runs, rounds: Sequence[int] = (1, 4, 8, 15)) -> Figure | None:
    """The paper's Figure 5: distribution of ENT-MCD's uncertainty on the test set, with and without consistency.

    Rounds count from 0, so round 15 is the last of the paper's schedule. Shorter runs show four rounds over their
    length; without ENT-MCD the first strategy is shown.
    """
    wanted = [s for s in runs.curves if s.first.strategy == "entropy_mcd"] or list(runs.curves)[:1]
    if not wanted:
        return None
    strategy = wanted[0].first.strategy
    shown = [s for s in wanted if s.first.strategy == strategy][:2]
    n = min(len(run.rounds) for s in shown for run in s.runs.values())
    rounds = [r for r in rounds if r < n] if n > max(rounds) else sorted({round(k * (n - 1) / 3) for k in range(4)})
    figure, axes = _panels(len(rounds), width=2.9, height=2.6, columns=4)
    bins = np.linspace(0, math.log(N_GRADES), 31)
    for ax, number in zip(axes, rounds, strict=False):
        for setting in shown:
            values = np.concatenate([run.predictions(number).uncertainty for run in setting.runs.values()])
            colour = CONSISTENT if setting.first.consistency else NAIVE
            weights = np.full(len(values), 100 / len(values))
            ax.hist(values, bins=bins.tolist(), weights=weights, color=colour, alpha=0.55, label=setting.label)
        n_labeled = int(shown[0].first.rounds["n_labeled"].iloc[number])
        ax.set_title(f"round {number}, {n_labeled} labels")
        ax.set_xlabel("predictive entropy (nats)")
    axes[0].set_ylabel("test knees (%)")
    _legend(figure, axes)
    return figure


def queried_grades(runs: Runs) -> Figure | None:
    """Share of each grade in each query, a panel for each setting."""
    shares = {s.label: found for s in runs.curves if len(found := grade_shares(s))}
    if not shares:
        return None
    figure, axes = _panels(len(shares), width=2.8, height=2.3)
    for ax, (label, table) in zip(axes, shares.items(), strict=False):
        bottom = np.zeros(len(table))
        for grade in range(N_GRADES):
            ax.bar(
                range(len(table)),
                100 * table[:, grade],
                bottom=bottom,
                color=COLOURS[grade],
                width=0.9,
                label=f"KL {grade}",
            )
            bottom += 100 * table[:, grade]
        ax.set(title=label, ylim=(0, 100))
        ax.set_xlabel("query (0: random, the same for all)")
        ax.set_ylabel("grades (%)")
    _legend(figure, axes)
    return figure


def overlap(runs: Runs) -> Figure | None:
    """How much of what two settings asked for is the same."""
    names, values = overlap_matrix(runs)
    if len(names) < 2 or np.isnan(values).all():
        return None
    figure, (ax,) = _panels(1, width=1.8 + 0.62 * len(names), height=1.4 + 0.55 * len(names))
    ax.imshow(values, cmap="Blues", vmin=0, vmax=1)
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right")
    ax.set_yticks(range(len(names)), names)
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            colour = "white" if value > 0.55 else "black"
            ax.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    ax.spines[:].set_visible(False)
    ax.set_title("overlap of what was asked for (%)")
    return figure


def calibration(runs: Runs) -> Figure | None:
    """Confidence against accuracy after the last round, pooled over the seeds; bins of a few knees are not drawn."""
    if not runs.settings:
        return None
    figure, axes = _panels(len(runs.settings), width=2.5, height=2.5)
    for ax, setting in zip(axes, runs.settings, strict=False):
        found = [_last(run) for run in setting.runs.values()]
        curve = calibration_curve(np.concatenate([f.probs for f in found]), np.concatenate([f.kl for f in found]))
        ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
        many = curve.count >= _FEW
        ax.plot(curve.confidence[many], curve.accuracy[many], "o-", color=COLOURS[0], markersize=3)
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=setting.label)
        ax.set_xlabel("confidence")
        ax.set_ylabel("accuracy")
        ax.text(0.04, 0.9, f"ECE {curve.ece:.3f}", fontsize=8)
    return figure


def confusion(runs: Runs) -> Figure | None:
    """Confusion matrices after the last round, rows in percent, mean over the seeds."""
    if not runs.settings:
        return None
    figure, axes = _panels(len(runs.settings), width=2.4, height=2.5)
    for ax, setting in zip(axes, runs.settings, strict=False):
        total = np.sum([run.confusion(int(run.rounds["round"].iloc[-1])) for run in setting.runs.values()], axis=0)
        shares = 100 * total / np.maximum(1, total.sum(axis=1, keepdims=True))
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        for (row, column), value in np.ndenumerate(shares):
            colour = "white" if value > 55 else "black"
            ax.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)
        ax.set_title(setting.label)
        ax.set_xlabel("predicted KL")
        ax.set_ylabel("true KL")
        ax.spines[:].set_visible(False)
    return figure


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all panels, beside them: what any of them shows."""
    shown = {name: handle for ax in axes for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(list(shown.values()), list(shown), loc="outside right center", frameon=False, fontsize=8)


def _last(run: Run) -> Any:
    return run.predictions(int(run.rounds["round"].iloc[-1]))


def _panels(n: int, *, width: float, height: float, columns: int = 5) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(n, columns if n > columns or n <= 3 else math.ceil(n / 2) if n <= 2 * columns and n > 4 else n)
    rows = math.ceil(n / columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel().tolist()
    for ax in grid:
        ax.spines[["top", "right"]].set_visible(False)
        ax.title.set_fontsize(9)
        ax.tick_params(labelsize=8)
        ax.xaxis.label.set_fontsize(8)
        ax.yaxis.label.set_fontsize(8)
    for ax in grid[n:]:
        ax.set_axis_off()
    return figure, grid[:n]
