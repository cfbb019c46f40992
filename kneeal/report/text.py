"""A table of text in four notations."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from kneeal.stats.summary import Summary

#: Metrics in [0, 1] that are shown in percent.
_PERCENT = ("balanced_accuracy", "recall_")


@dataclass(frozen=True)
class TextTable:
    """A table.

    Attributes:
        title: What it shows.
        header: Column names; the first column is text, the others are numbers.
        rows: Cells.
        notes: What the reader must know.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def text(self) -> str:
        """For a terminal."""
        lines = [list(self.header), *map(list, self.rows)]
        widths = [max(len(line[k]) for line in lines) for k in range(len(self.header))]
        body = [
            "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
            for line in lines
        ]
        return "\n".join([self.title, "", *(line.rstrip() for line in body), *self.notes]) + "\n"

    def markdown(self) -> str:
        """For a document."""
        rule = ["---", *["---:"] * (len(self.header) - 1)]
        lines = [f"| {' | '.join(c.replace('|', chr(92) + '|') for c in r)} |" for r in (self.header, rule, *self.rows)]
        return "\n".join(lines) + "\n" + "".join(f"\n{note}\n" for note in self.notes if note)

    def latex(self) -> str:
        """For a paper: a tabular with booktabs rules."""
        lines = [f"{' & '.join(map(_latex, row))} \\\\" for row in (self.header, *self.rows)]
        columns = "l" + "r" * (len(self.header) - 1)
        notes = [f"% {note}" for note in (self.title, *self.notes)]
        begin, end = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule"], ["\\bottomrule", "\\end{tabular}"]
        return "\n".join([*notes, *begin, lines[0], "\\midrule", *lines[1:], *end]) + "\n"

    def csv(self) -> str:
        """As it is shown, separated by commas."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([self.header, *self.rows])
        return text.getvalue()


def is_percent(metric: str) -> bool:
    """Whether a metric is shown in percent."""
    return metric.removeprefix("test_").removeprefix("val_").startswith(_PERCENT)


def metric_name(metric: str) -> str:
    """A metric in words, with its unit."""
    where, _, name = metric.partition("_")
    words = {
        "balanced_accuracy": "balanced accuracy (%)", "quadratic_kappa": "quadratic weighted kappa",
        "mae": "mean absolute error (grades)", "ece": "expected calibration error",
        "nll": "negative log-likelihood (nats)",
    }.get(name, f"recall of grade {name[-1]} (%)" if name.startswith("recall_") else name)  # fmt: skip
    return words if where == "test" else f"validation {words}"


def show(summary: Summary | None, *, percent: bool, n_seeds: int = 0) -> str:
    """Mean and error, `56.39±0.59`; a single seed without an error, fewer seeds than there should be with their number.

    Args:
        summary: What to show; None is a dash.
        percent: Times 100 with two digits, else three digits.
        n_seeds: How many seeds there should be.
    """
    if summary is None:
        return "-"
    factor, digits = (100, 2) if percent else (1, 3)
    text = f"{factor * summary.mean:.{digits}f}"
    if summary.error is not None:
        text += f"±{factor * summary.error:.{digits}f}"
    return text + (f" ({summary.n}/{n_seeds} seeds)" if summary.n < n_seeds else "")


def _latex(cell: str) -> str:
    for plain, escaped in (("\\", "\\textbackslash{}"), ("&", "\\&"), ("%", "\\%"), ("_", "\\_"), ("#", "\\#")):
        cell = cell.replace(plain, escaped)
    mean, sign, error = cell.partition("±")
    return f"${mean} \\pm {error}$" if sign and "(" not in error else cell.replace("±", "$\\pm$")
