from __future__ import annotations

import pandas as pd

from kneeal.report.one_run import rounds_table


def test_the_table_is_aligned_and_fits_a_screen() -> None:
    rows = pd.DataFrame(
        {
            "round": [0, 15],
            "n_labeled": [50, 800],
            "n_pseudo": [0, 800],
            "val_balanced_accuracy": [0.2, 0.5641],
            "test_balanced_accuracy": [0.2096, 0.5639],
            "test_quadratic_kappa": [0.0, 0.777],
            "test_mae": [1.2, 0.51],
            "test_ece": [0.1, 0.05],
            "test_nll": [1.5, 1.1],
            "fit_seconds": [10.04, 2000.0],
            "predict_seconds": [5.0, None],
        }
    )
    lines = rounds_table(rows.to_dict("records")).splitlines()
    assert len({len(line) for line in lines}) == 1 and len(lines[0]) < 100
    assert lines[2].split() == ["15", "800", "800", "56.4", "56.4", "0.777", "0.510", "0.050", "1.100", "2000.0", "-"]
