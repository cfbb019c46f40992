"""What the figures of one run and of many, and the page, have in common: colors, panels, legends."""

import colorsys
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kneeal.report.runs import Runs

#: Okabe and Ito's colors, which the color-blind can tell apart; then each the farthest from all before it in OKLab,
#: among colors that stand out on white and on black.
COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#9600FF", "#4BE100", "#0F00B4", "#A50069",
    "#FF0FFF", "#006900", "#873C00", "#5A0078", "#FF0069", "#7878FF", "#2D3CFF", "#78D2A5", "#FF87FF", "#784BA5",
    "#C33CC3", "#968700", "#F0A5A5", "#00B400", "#C30F1E", "#5A00C3", "#78002D", "#004B87",
)  # fmt: skip
#: Querying at random, and chance.
GRAY = "#777777"
#: The baseline of all labels.
DARK = "#33383f"
#: KL 0 to 4, from light to dark as the disease goes on (ColorBrewer's OrRd).
GRADE_COLORS = ("#fdd9a0", "#fdae61", "#f0764a", "#cf3a26", "#7f0000")
#: Grades whose color takes white text.
DARK_GRADES = (3, 4)
#: An axis of percentages spans at least this many points, so that a difference of one does not fill it.
MIN_SPAN = 20.0
#: Most panels in a row.
MAX_COLUMNS = 5


def color(k: int) -> str:
    """The color of number k; none repeats."""
    if k < len(COLORS):
        return COLORS[k]
    # Steps of the golden ratio never come back to a hue; two lightnesses tell neighbors apart.
    rgb = colorsys.hls_to_rgb(0.07 + 0.618034 * k % 1, (0.34, 0.55)[k % 2], 0.62)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


def setting_colors(runs: Runs) -> dict[str, str]:
    """Color by label: one per strategy, with and without consistency; random is gray and all labels are dark."""
    families: dict[str, str] = {}
    found = {}
    for setting in runs.settings:
        if setting.first.is_baseline:
            found[setting.label] = DARK
        elif setting.first.strategy == "random":
            found[setting.label] = GRAY
        else:
            family = setting.label.replace(" + CR", "", 1)
            found[setting.label] = families.setdefault(family, color(len(families)))
    return found


def panels(n: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of n panels with one scale from bottom to top, in rows of about equal length; sizes in inches."""
    rows = math.ceil(n / MAX_COLUMNS)
    columns = math.ceil(n / rows)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel().tolist()
    for ax in grid:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
        ax.xaxis.label.set_fontsize(8)
        ax.yaxis.label.set_fontsize(8)
    for ax in grid[n:]:
        ax.set_axis_off()
    return figure, grid[:n]


def save_figures(figures: Mapping[str, Figure | None], out: Path, for_papers: Sequence[str] = ()) -> list[Path]:
    """Write the figures that are not None as PNG, some as PDF too, and return the PNG files.

    No time of writing is kept, so that the same runs give the same files.
    """
    out.mkdir(parents=True, exist_ok=True)
    drawn = {out / f"{name}.png": figure for name, figure in figures.items() if figure is not None}
    for path, figure in drawn.items():
        figure.savefig(path, dpi=150, metadata={"Software": None})
        if path.stem in for_papers:
            figure.set_layout_engine("none")  # it is laid out already
            figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
    return list(drawn)


def matrix(ax: Axes, values: NDArray[np.float64], *, low: float = 0.0) -> None:
    """Percentages [R, C] in shaded cells, white at `low`; NaN leaves a cell empty."""
    ax.imshow(values, cmap="Blues", vmin=low, vmax=100)
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            color = "white" if value > low + 0.55 * (100 - low) else "black"
            ax.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=color)
    ax.spines[:].set_visible(False)


def title(ax: Axes, text: str, *, width: int = 30) -> None:
    """Give a panel its title, wrapped at `width` characters."""
    ax.set_title("\n".join(textwrap.wrap(text, width)), fontsize=9)


def legend(figure: Figure, axes: Sequence[Axes], *, reverse: bool = False) -> None:
    """One legend for all panels, to their right: what any of them shows."""
    shown = {name: handle for ax in axes for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)}
    names = list(shown)[::-1] if reverse else list(shown)
    figure.legend([shown[n] for n in names], names, loc="outside right center", frameon=False, fontsize=8)


def span_at_least(ax: Axes, values: Iterable[float], chance: float | None) -> None:
    """Let an axis of percentages hold some values and chance, and never zoom into a few points."""
    known = [v for v in (*values, *([] if chance is None else [chance])) if np.isfinite(v)]
    if not known:
        return
    low, high = min(known), max(known)
    high = max(high, low + MIN_SPAN)
    ax.set_ylim(max(0.0, low - 2), min(102.0, high + 2))
