"""A table of text in four notations."""

from collections.abc import Sequence
from dataclasses import dataclass

from kneeal.stats.metrics import find_metric
from kneeal.stats.summary import Summary
from kneeal.tables import csv_text


@dataclass(frozen=True)
class TextTable:
    """A table of cells: the first column is text, the others are numbers."""

    title: str  #: A line above it.
    header: Sequence[str]  #: Heading of each column.
    rows: Sequence[Sequence[str]]  #: Cells, as many in each row as there are columns.
    notes: Sequence[str] = ()  #: Lines below it; an empty one stands for a gap.

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
        import pandas as pd

        columns = "l" + "r" * (len(self.header) - 1)
        table = pd.DataFrame(list(self.rows), columns=list(self.header))
        tabular: str = table.to_latex(index=False, escape=True, column_format=columns).replace("±", "$\\pm$")
        return "".join(f"% {note}\n" for note in (self.title, *self.notes)) + tabular

    def csv(self) -> str:
        """As it is shown, separated by commas."""
        return csv_text([self.header, *self.rows])


def heading(column: str) -> str:
    """A metric's column in words, with its unit: `test_mae` is "mean absolute error (grades)"."""
    return ("validation " if column.startswith("val") else "") + find_metric(column).heading


def fixed(value: float, digits: int, *, sign: bool = False) -> str:
    """A number with `digits` decimals, and never "-0.0"."""
    return f"{round(value, digits) + 0.0:{'+' if sign else ''}.{digits}f}"


def show(summary: Summary | None, column: str, *, n_seeds: int = 0) -> str:
    """Mean and standard error, `56.39±0.59`, with the metric's percent and digits; a dash for None.

    A single seed has no error; where seeds are missing of `n_seeds`, they are counted.
    """
    if summary is None:
        return "-"
    metric = find_metric(column)
    text = fixed(metric.factor * summary.mean, metric.digits)
    if summary.error is not None:
        text += f"±{fixed(metric.factor * summary.error, metric.digits)}"
    return text + (f" ({summary.n}/{n_seeds} seeds)" if summary.n < n_seeds else "")
