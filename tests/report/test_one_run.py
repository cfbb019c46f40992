from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.fake_runs import write_run, write_study
from matplotlib.figure import Figure

from kneeal.loop.folder import RunFolder
from kneeal.report.drawing import MIN_SPAN
from kneeal.report.one_run import draw_run_figures, rounds_table


def test_the_table_is_aligned_and_fits_a_screen() -> None:
    rows = pd.DataFrame(
        {
            "round": [0, 15],
            "n_labeled": [50, 800],
            "n_graded": [402, 1152],
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
    assert len({len(line) for line in lines}) == 1 and len(lines[0]) < 120
    assert lines[2].split() == [
        "16",
        "800",
        "1152",
        "800",
        "56.4",
        "56.4",
        "0.777",
        "0.510",
        "0.050",
        "1.100",
        "2000.0",
        "-",
    ]


def drawn(run: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """The figures by name, as they are saved."""
    found: dict[str, Figure] = {}

    def keep(self: Figure, path: Path, **options: Any) -> None:
        found[path.stem] = self

    monkeypatch.setattr(Figure, "savefig", keep)
    first = RunFolder(run).queries()[0].ids
    draw_run_figures(run, out, dict(zip(first, [0, 1, 1, 2, 3, 4], strict=False)))
    return found


def test_the_curve_of_a_run_says_whose_it_is_and_what_chance_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"ENT": ("entropy", False, 0.21), "Random": ("random", False, 0.2)}
    study = write_study(tmp_path / "study", seeds=2, settings=settings)
    write_run(study / "random-all-seed1", "random", False, 1, everything=True)  # no curve of this schedule
    figures = drawn(study / "entropy-naive-seed1", tmp_path / "out", monkeypatch)
    (ax,) = figures["learning_curve"].axes
    assert ax.get_title() == "entropy, seed 1, 120 test knees"
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    assert list(lines) == ["test", "validation, best epoch", "random, same seed", "chance"]
    assert list(lines["chance"]) == [20, 20]
    assert (
        lines["random, same seed"][-1]
        == 100 * RunFolder(study / "random-naive-seed1").rounds()[-1]["test_balanced_accuracy"]
    )
    low, high = ax.get_ylim()
    assert high - low >= MIN_SPAN, "curves that end within a point of chance"
    assert len(figures["uncertainty"].axes) == 4


def test_a_run_alone_has_no_random_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "random-of-other-data", "random", False, 0, dataset="other")
    figures = drawn(write_run(tmp_path / "run", "entropy", False, 0), tmp_path / "out", monkeypatch)
    assert [line.get_label() for line in figures["learning_curve"].axes[0].lines][-1] == "chance"
    assert "random, same seed" not in [line.get_label() for line in figures["learning_curve"].axes[0].lines]


def test_a_random_run_in_the_next_folder_stands_beside_the_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "my-random-run", "random", False, 0)
    figures = drawn(write_run(tmp_path / "run", "entropy", False, 0), tmp_path / "out", monkeypatch)
    assert "random, same seed" in [line.get_label() for line in figures["learning_curve"].axes[0].lines]


def test_queried_grades_stand_beside_the_pool_and_count_rounds_from_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = drawn(write_run(tmp_path / "run", "entropy", False, 0), tmp_path / "out", monkeypatch)
    (ax,) = figures["queried_grades"].axes
    assert sorted(tick.get_text() for tick in ax.get_xticklabels()) == ["1", "2", "3", "4", "pool"]
    first = [min(bars.patches, key=lambda bar: bar.get_x()).get_height() for bars in ax.containers]
    assert first == pytest.approx([100 / 6, 200 / 6, 100 / 6, 100 / 6, 100 / 6])
