"""The table of rounds, as text."""

from __future__ import annotations

import pandas as pd

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
