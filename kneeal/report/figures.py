"""Figures over seeds: learning curves and uncertainty as the paper draws them, calibration, confusion, queries."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kneeal.data.grades import N_GRADES
from kneeal.errors import count
from kneeal.report.drawing import COLORS, GRADE_COLORS, GRAY, legend, matrix, panels, save_figures, span_at_least, title
from kneeal.report.queries import grade_shares, overlap_by_chance, overlap_matrix, pool_shares
from kneeal.report.runs import Runs, Setting
from kneeal.report.tables import find_random, last
from kneeal.report.text import heading
from kneeal.stats.metrics import find_metric

#: A calibration bin with fewer knees says nothing.
_FEW = 10


def draw_figures(runs: Runs, metric: str, out: Path, kl: Mapping[str, int]) -> list[Path]:
    """Draw every figure that the runs allow as PNG, the paper's two as PDF too, and return the PNG files.

    The grades `kl` of the pool are empty where the data set is not available.
    """
    figures = {
        "learning_curves": learning_curves(runs, metric),
        "uncertainty": uncertainty(runs),
        "queried_grades": queried_grades(runs, kl),
        "overlap": overlap_heatmap(runs),
        "calibration": calibration(runs),
        "confusion": confusion(runs),
    }
    return save_figures(figures, out, for_papers=("learning_curves", "uncertainty"))


def learning_curves(runs: Runs, metric: str) -> Figure | None:
    """The paper's Figure 4: for each strategy naive against consistency against random, all labels as a dashed line."""
    random = find_random(runs)
    families: dict[str, list[Setting]] = {}
    for setting in runs.curves:
        if setting is not random:
            families.setdefault(setting.label.replace(" + CR", "", 1), []).append(setting)
    families = families or {s.label: [] for s in runs.curves}
    if not families:
        return None
    figure, axes = panels(len(families), width=3.4, height=2.9)
    shown = find_metric(metric)
    for ax, (family, settings) in zip(axes, families.items(), strict=False):
        for setting in [*settings, *([random] if random else [])]:
            color, name = (GRAY, setting.label) if setting is random else _kind(setting)
            _band(ax, setting, metric, shown.factor, color, name)
        for baseline in runs.baselines:
            found = last(baseline, metric)
            if found is not None:
                ax.axhline(shown.factor * found.mean, color="black", linestyle="--", linewidth=1, label=baseline.label)
        title(ax, family)
        ax.set_xlabel("labeled knees")
        ax.set_ylabel(heading(metric))
    if shown.chance is not None:
        chance = shown.factor * shown.chance(N_GRADES)
        for ax in axes:
            ax.axhline(chance, color=GRAY, linestyle=":", linewidth=1, label="chance")
        if shown.percent:  # one scale for all panels
            span_at_least(axes[0], axes[0].get_ylim(), chance)
    legend(figure, axes)
    return figure


def _kind(setting: Setting) -> tuple[str, str]:
    """Color and name of a setting within its strategy."""
    return (COLORS[0], "consistency") if setting.first.consistency else (COLORS[4], "naive")


def _band(ax: Axes, setting: Setting, metric: str, factor: float, color: str, name: str) -> None:
    found = setting.summaries(metric)
    x = [n for n, _ in found]
    y = np.array([factor * s.mean for _, s in found])
    e = np.array([factor * (s.error or 0.0) for _, s in found])
    ax.plot(x, y, "o-", color=color, linewidth=1.6, markersize=3, label=name)
    ax.fill_between(x, y - e, y + e, color=color, alpha=0.2, linewidth=0)


def uncertainty(runs: Runs, rounds: Sequence[int] = (1, 4, 8, 15)) -> Figure:
    """The paper's Figure 5: distribution of ENT-MCD's uncertainty on the test set, with and without consistency.

    Its rounds count from 0, so 15 is the last of the paper's schedule. Shorter runs show four rounds over their
    length; without ENT-MCD the first strategy is shown.
    """
    candidates = [s for s in runs.curves if s.first.strategy == "entropy_mcd"] or runs.settings[:1]
    strategy = candidates[0].first.strategy
    shown = [s for s in candidates if s.first.strategy == strategy][:2]
    n = min(len(run.rounds) for s in shown for run in s.runs.values())
    rounds = [r for r in rounds if r < n] if n > max(rounds) else sorted({round(k * (n - 1) / 3) for k in range(4)})
    figure, axes = panels(len(rounds), width=2.9, height=2.6)
    for ax, number in zip(axes, rounds, strict=True):
        for setting in shown:
            values = np.concatenate([run.predictions(number).uncertainty for run in setting.runs.values()])
            share = np.full(len(values), 100 / len(values))
            bins = np.linspace(0, np.log(N_GRADES), 31).tolist()
            ax.hist(values, bins, weights=share, color=_kind(setting)[0], alpha=0.55, label=setting.label)
        ax.set_xlabel("predictive entropy (nats)")
        n_labeled = int(shown[0].first.rounds["n_labeled"].iloc[number])
        title(ax, count(n_labeled, "label"))
    axes[0].set_ylabel("test knees (%)")
    legend(figure, axes)
    return figure


def queried_grades(runs: Runs, kl: Mapping[str, int]) -> Figure | None:
    """Share of each grade in each query next to the pool's, one panel per setting."""
    found = {s.label: table for s in runs.curves if len(table := grade_shares(s))}
    if not found:
        return None
    pool = pool_shares(runs, kl)
    figure, axes = panels(len(found), width=2.8, height=2.3)
    for ax, (label, table) in zip(axes, found.items(), strict=True):
        x: list[float] = [*range(len(table))]
        ticks = {k: str(k + 1) for k in x[:: max(1, ceil(len(x) / 8))]}
        if pool:
            table = np.concatenate([[pool], table])
            x, ticks = [-1.6, *x], {**ticks, -1.6: "pool"}
        bottom = np.zeros(len(table))
        for grade, color in enumerate(GRADE_COLORS):
            ax.bar(x, 100 * table[:, grade], bottom=bottom, color=color, width=0.9, label=f"KL {grade}")
            bottom += 100 * table[:, grade]
        ax.set_xticks(list(ticks), list(ticks.values()))
        ax.set(ylim=(0, 100), xlabel="queried for round", ylabel="grades (%)")
        title(ax, label)
    legend(figure, axes[:1], reverse=True)
    return figure


def overlap_heatmap(runs: Runs) -> Figure | None:
    """How much of what two settings queried is the same, and how much would be by chance."""
    names, values = overlap_matrix(runs)
    if len(names) < 2 or np.isnan(values).all():
        return None
    chance = overlap_by_chance(runs)
    figure, (ax,) = panels(1, width=1.8 + 0.62 * len(names), height=1.4 + 0.55 * len(names))
    matrix(ax, 100 * values, low=100 * (chance or 0))
    ax.set_xticks(range(len(names)), names, rotation=40, ha="right")
    ax.set_yticks(range(len(names)), names)
    beside = f", by chance {100 * chance:.0f}" if chance is not None else ""
    title(ax, f"overlap of what was queried (%{beside})", width=80)
    return figure


def calibration(runs: Runs) -> Figure:
    """Confidence against accuracy after the last round, pooled over the seeds; bins of a few knees are not drawn."""

    def draw(ax: Axes, setting: Setting) -> None:
        curve = setting.calibration()
        ax.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1)
        many = curve.count >= _FEW
        ax.plot(curve.confidence[many], curve.accuracy[many], "o-", color=COLORS[0], markersize=3)
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        ax.text(0.04, 0.9, f"ECE {curve.ece:.3f}", fontsize=8)

    return _by_setting(runs, draw, "confidence", "accuracy")


def confusion(runs: Runs) -> Figure:
    """Confusion matrices after the last round, rows in percent, mean over the seeds."""

    def draw(ax: Axes, setting: Setting) -> None:
        total = setting.confusion()
        matrix(ax, 100 * total / np.maximum(1, total.sum(axis=1, keepdims=True)))

    return _by_setting(runs, draw, "predicted KL", "true KL")


def _by_setting(runs: Runs, draw: Callable[[Axes, Setting], None], xlabel: str, ylabel: str) -> Figure:
    figure, axes = panels(len(runs.settings), width=2.5, height=2.5)
    for ax, setting in zip(axes, runs.settings, strict=True):
        draw(ax, setting)
        title(ax, setting.label)
        ax.set(xlabel=xlabel, ylabel=ylabel)
    return figure
