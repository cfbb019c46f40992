"""What the figures of one run and of many have in common."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: An axis of percentages spans at least this many points, so that a difference of one does not fill it.
LEAST_SPAN = 20.0


def panels(n: int, *, width: float, height: float, columns: int = 5) -> tuple[Figure, list[Axes]]:
    """A figure of n panels with one scale from bottom to top, in rows of about equal length; sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = math.ceil(n / columns)
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
            figure.set_layout_engine("none")  # it is laid out by now
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
    """Head a panel, in as many lines of `width` characters as it takes."""
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
    high = max(high, low + LEAST_SPAN)
    ax.set_ylim(max(0.0, low - 2), min(102.0, high + 2))
