from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.fake_runs import put, write_run, write_study

from kneeal.errors import UserError
from kneeal.pool import PoolState
from kneeal.report.claims import check_claims
from kneeal.report.comparisons import cells, compare_settings, comparison_table, decide
from kneeal.report.figures import learning_curves
from kneeal.report.queries import overlap, overlap_table, queried
from kneeal.report.reading import read_runs
from kneeal.report.runs import Runs
from kneeal.report.tables import TABLE_2, device_hours, metric_table, paper_table, saved_table
from kneeal.report.text import TextTable, show
from kneeal.report.write import write_report
from kneeal.stats.crossed import Accuracies, TestSet
from kneeal.stats.summary import summarize
from kneeal.study.folder import StudyFolder
from kneeal.study.grid import Study, read_study

TWO = {"ENT-MCD": ("entropy_mcd", False, 0.6), "Random": ("random", False, 0.4)}


BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def knees_of(runs: Runs) -> TestSet:
    test = runs.test_predictions
    return TestSet.of(test.kl, [i.rpartition("_")[0] for i in test.ids])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("fake") / "study", seeds=3)


def test_the_table_is_the_mean_over_seeds_of_rounds_csv(study: Path) -> None:
    runs = read_runs([study])
    table = metric_table(runs, "test_balanced_accuracy", [50, 200])
    row = next(row for row in table.rows if row[0] == "ENT-MCD + CR")
    assert (table.header[1], row[1]) == ("validation grades", "+ 80"), "50 labels are 130 grades"
    values = [
        pd.read_csv(study / f"entropy_mcd-cr-seed{s}/rounds.csv").set_index("n_labeled")["test_balanced_accuracy"][200]
        for s in range(3)
    ]
    assert row[3] == f"{100 * np.mean(values):.2f}±{100 * np.std(values, ddof=1) / np.sqrt(3):.2f}"
    full = table.rows[-1]
    assert full[0] == "Full training set" and full[2:4] == ["", ""] and "±" in full[4]


def test_one_seed_prints_no_error_and_a_missing_one_is_said(tmp_path: Path) -> None:
    write_study(tmp_path, seeds=2, settings=TWO)
    shutil.rmtree(tmp_path / "random-naive-seed1")
    runs = read_runs([tmp_path])
    assert any("Random: no run of seed 1" in message for message in runs.messages)
    row = next(r for r in metric_table(runs, "test_balanced_accuracy", [200]).rows if r[0] == "Random")
    assert row[2].endswith("(1/2 seeds)") and "±" not in row[2]
    assert show(summarize([0.5]), "test_balanced_accuracy", n_seeds=1) == "50.00"


def test_other_label_counts_are_said_and_not_aligned(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "entropy", False, 0)
    write_run(tmp_path / "b", "random", False, 0, n_query=40)
    runs = read_runs([tmp_path / "a", tmp_path / "b"])
    assert any("different label counts" in message for message in runs.messages)
    table = metric_table(runs, "test_balanced_accuracy", [50])
    assert table.header == ["setting", "validation grades", "50"]  # no column for all labels, since no run has them
    assert [row[2] != "-" for row in table.rows] == [True, False]


def test_labels_come_from_the_study_else_from_what_differs(study: Path, tmp_path: Path) -> None:
    assert [s.label for s in read_runs([study]).settings][:2] == ["ENT-MCD", "ENT-MCD + CR"]
    write_run(tmp_path / "a", "entropy", True, 0)
    write_run(tmp_path / "b", "entropy", True, 0, config={"model": {"width": 8}})
    labels = [s.label for s in read_runs([tmp_path / "a", tmp_path / "b"]).settings]
    assert labels == ["ENT + CR, model.width=32", "ENT + CR, model.width=8"]


def test_values_that_name_the_seed_do_not_divide_a_setting(tmp_path: Path) -> None:
    study = {"settings": {"pretrained": {"active.strategy": "entropy", "training.init": "start-{seed}.ckpt"}}}
    file = tmp_path / "study.yaml"
    file.write_text(json.dumps({"name": "by-seed", "seeds": [0, 1], **study}))
    cells = read_study(file).cells
    StudyFolder(tmp_path / "study").write(Study("by-seed", tmp_path / "study", tuple(cells)))
    for cell in cells:
        init = {"training": {"init": f"start-{cell.seed}.ckpt"}}
        write_run(tmp_path / "study" / cell.name, "entropy", True, cell.seed, config=init)
    (setting,) = read_runs([tmp_path / "study"]).settings
    assert setting.label == "pretrained" and sorted(setting.runs) == [0, 1]
    (tmp_path / "study/study.json").unlink()
    assert len(read_runs([tmp_path / "study"]).settings) == 2, "nothing says that these files belong together"


def test_a_half_written_run_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    write_study(tmp_path, seeds=1, settings=TWO)
    for number in ("002", "003"):
        shutil.rmtree(tmp_path / "entropy_mcd-naive-seed0/rounds" / number)
    shutil.rmtree(tmp_path / "random-naive-seed0/rounds")
    messages = read_runs([tmp_path]).messages
    assert any("2 of 4 rounds, 100 labels" in m for m in messages)
    assert any("random-naive-seed0 has no finished round yet" in m for m in messages)


def other_data(path: Path) -> list[Path]:
    return [write_run(path / "a", "entropy", False, 0), write_run(path / "b", "random", False, 0, dataset="two")]


def other_test(path: Path) -> list[Path]:
    return [write_run(path / "a", "entropy", False, 0), write_run(path / "b", "random", False, 0, first_test=9_200_000)]


def twice(path: Path) -> list[Path]:
    run = write_run(path / "a", "entropy", False, 0)
    shutil.copytree(run, path / "b")
    return [run, path / "b"]


def no_run(path: Path) -> list[Path]:
    (path / "thesis").mkdir()
    return [path / "thesis"]


def empty(path: Path) -> list[Path]:
    run = write_run(path / "a", "entropy", False, 0)
    shutil.rmtree(run / "rounds")
    return [run]


def damaged(path: Path) -> list[Path]:
    run = write_run(path / "a", "entropy", False, 0)
    (run / "rounds/001/metrics.json").write_text("{")
    return [run]


def other_grades(path: Path) -> list[Path]:
    """A spreadsheet program replaced the grades of a run by what it predicted."""
    runs = [write_run(path / "a", "entropy", False, 0), write_run(path / "b", "random", False, 0)]
    for table in runs[0].glob("rounds/*/test_predictions.csv"):
        rows = pd.read_csv(table)
        rows["kl"] = rows[[f"p{grade}" for grade in range(5)]].to_numpy().argmax(axis=1)
        rows.to_csv(table, index=False)
    return runs


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (other_data, "2 different data sets"),
        (other_test, "2 different test sets"),
        (twice, "the same run twice"),
        (no_run, "no run in .*: it is"),
        (empty, "no run with a finished round"),
        (damaged, "metrics.json cannot be read"),
        (other_grades, "2 different test sets"),
        (lambda path: [path / "gone"], "no run in .*: it does not exist"),
    ],
)
def test_what_cannot_be_compared(tmp_path: Path, make: Callable[[Path], list[Path]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_runs(make(tmp_path))


def test_a_rounds_csv_that_a_spreadsheet_sorted_changes_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", "entropy", False, 0)
    rows = pd.read_csv(run / "rounds.csv")
    rows[::-1].assign(test_balanced_accuracy=0.9).to_csv(run / "rounds.csv", index=False)
    read = read_runs([run]).settings[0].first.rounds
    assert read["n_labeled"].tolist() == [50, 100, 150, 200]
    assert read["test_balanced_accuracy"].tolist() == pytest.approx(rows["test_balanced_accuracy"].tolist(), abs=1e-6)


@pytest.mark.parametrize("change", [lambda rows: rows.sort_values("kl"), lambda rows: rows[:-10]])
def test_a_table_of_predictions_that_was_sorted_or_cut_is_refused(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    table = write_run(tmp_path / "a", "entropy", False, 0) / "rounds/003/test_predictions.csv"
    change(pd.read_csv(table)).to_csv(table, index=False)
    write_run(tmp_path / "b", "random", False, 0)
    with pytest.raises(UserError, match=r"not the same in the rounds 0 and 3 of .*a"):
        write_report([tmp_path / "a", tmp_path / "b"], tmp_path / "out")


def test_settings_of_one_name_are_told_apart_by_their_strategy(tmp_path: Path) -> None:
    for study, strategy in (("one", "entropy"), ("two", "margin")):
        write_run(tmp_path / study / "cell", strategy, False, 0)
        put(tmp_path / study / "study.json", json.dumps({"cells": {"cell": {"setting": "ours"}}}))
    runs = read_runs([tmp_path / "one", tmp_path / "two"])
    assert [s.label for s in runs.settings] == ["ours, active.strategy=entropy", "ours, active.strategy=margin"]
    assert len(compare_settings(runs, 200, knees_of(runs))) == 1


def test_a_copied_run_is_said(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", "entropy", False, 0)
    shutil.copytree(run, tmp_path / "b")
    put(tmp_path / "b/config.yaml", (run / "config.yaml").read_text().replace("seed: 0", "seed: 1"))
    assert any("ENT: 1 seed predicted exactly what another did" in m for m in read_runs([tmp_path]).messages)
    write_run(tmp_path / "b", "entropy", False, 1)
    assert not any("predicted exactly" in m for m in read_runs([tmp_path]).messages)


def test_unequal_validation_grades_are_said(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "entropy", False, 0)
    run = write_run(tmp_path / "b", "random", False, 0)
    assert not any("validation grades" in m for m in read_runs([tmp_path]).messages)
    for file in run.glob("rounds/*/metrics.json"):
        metrics = json.loads(file.read_text())
        metrics["row"]["n_graded"] -= 80
        put(file, json.dumps(metrics))
    assert any("different numbers of validation grades" in m for m in read_runs([tmp_path]).messages)


def test_of_unequal_budgets_the_labels_that_both_have_are_compared(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "entropy", False, 0, n_rounds=6)
    write_run(tmp_path / "b", "random", False, 0, n_rounds=4)
    write_report([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert "at 200 labels" in (tmp_path / "out/comparisons.txt").read_text()


def test_an_unknown_metric_is_answered_with_the_nearest(study: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'balanced_accuracy'"):
        write_report([study], tmp_path, metric="balanced_acuracy")
    with pytest.raises(UserError, match="no round with 75 labels"):
        write_report([study], tmp_path, labels=[75])
    assert read_runs([study]).metric("mae") == "test_mae"


def test_everything_is_written_in_every_notation(study: Path, tmp_path: Path) -> None:
    write_report([study], tmp_path)
    for name in ("table", "area", "labels_saved", "comparisons", "wins", "asked", "overlap", "cost"):
        for kind in ("txt", "csv", "md", "tex"):
            assert (tmp_path / f"{name}.{kind}").stat().st_size > 50, (name, kind)
    for name in ("learning_curves", "uncertainty", "queried_grades", "overlap", "calibration", "confusion"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000, name
    curves = pd.read_csv(tmp_path / "curves.csv")
    assert set(curves["setting"]) == {s.label for s in read_runs([study]).settings}
    assert "### ENT-MCD leads?" in (tmp_path / "report.md").read_text()
    tex = (tmp_path / "table.tex").read_text()
    assert tex.count("\\\\") == 11 and "\\pm" in tex and "%" not in tex[tex.index("\\begin") :]
    again = tmp_path / "again"
    write_report([study], again)
    for name in ("report.md", "report.html", "curves.csv", "table.tex"):
        assert (again / name).read_bytes() == (tmp_path / name).read_bytes(), "the same runs give the same report"


def test_notations() -> None:
    table = TextTable("t", ["a|b", "n"], [["x_1 & y", "1.0±0.5"]], ["", "note"])
    assert "a\\|b" in table.markdown() and table.markdown().endswith("\nnote\n")
    assert "x\\_1 \\& y & 1.0$\\pm$0.5 \\\\" in table.latex()
    assert table.csv() == "a|b,n\nx_1 & y,1.0±0.5\n"


def test_a_better_strategy_wins_and_an_equal_one_does_not(tmp_path: Path) -> None:
    settings = {"A": ("entropy", False, 0.8), "B": ("random", False, 0.35), "C": ("mi_mcd", False, 0.35)}
    runs = read_runs([write_study(tmp_path, seeds=6, settings=settings, n_test=300)])
    found = {(c.a, c.b): c for c in compare_settings(runs, 200, knees_of(runs))}
    assert found["A", "B"].winner == "A" and found["A", "C"].verdict == "win"
    assert found["B", "C"].winner == "" and found["B", "C"].verdict.startswith("cannot tell (needs ")
    for (a, b), c in found.items():
        values = [{s.label: s for s in runs.settings}[n].curves("test_balanced_accuracy") for n in (a, b)]
        expected = [values[0][s].values[-1] - values[1][s].values[-1] for s in range(6)]
        assert c.by_seed == pytest.approx(expected, abs=1e-5)
        assert c.p_family >= c.estimate.p_value
    text = comparison_table(list(found.values()), 200).text()
    assert "to find a true difference of 2 points in 4 of 5 studies takes" in " ".join(text.split())


def test_one_seed_wins_nothing(tmp_path: Path) -> None:
    settings = {"A": ("entropy", False, 0.9), "B": ("random", False, 0.2)}
    runs = read_runs([write_study(tmp_path, seeds=1, settings=settings)])
    (comparison,) = compare_settings(runs, 200, knees_of(runs))
    assert comparison.verdict == "cannot tell (one seed)" and "-" in cells(comparison)
    assert check_claims(runs, knees_of(runs)) == []


def test_a_claim_of_a_difference_takes_more_than_three_lucky_seeds() -> None:
    """Three seeds of one sign, none of them far from 0 by the patients: the older rule called that a win."""
    rng = np.random.default_rng(0)
    values = np.array([0.02, 0.03, 0.045])
    pairs = {("A", str(k)): Accuracies(values, rng.normal(0, 1e-4, (3, 200))) for k in range(36)}
    assert {c.winner for c in decide(pairs)} == {""}
    assert all(c.needed is not None and 3 < c.needed < 20 for c in decide(pairs))


def test_equal_strategies_seldom_win() -> None:
    """A small part of `make bench-false-wins`; all the numbers are in docs/statistics.md."""
    spec = importlib.util.spec_from_file_location("false_wins", BENCHMARKS / "false_wins.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for n_seeds, sd in ((3, 0.0), (5, 3.0)):
        false, held = module.simulate(9, n_seeds, sd, 100)
        assert max(false.values()) <= 0.1, (n_seeds, sd, false)
        assert all(0.9 <= share <= 0.99 for share in held.values()), (n_seeds, sd, held)


def test_the_claims_follow_their_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kneeal.report.claims.CERTAIN", 0.6)  # as certain as invented knees become
    settings = {
        "ENT-MCD": ("entropy_mcd", False, 0.6), "ENT-MCD + CR": ("entropy_mcd", True, 0.8),
        "LC": ("least_confidence", False, 0.2), "Random": ("random", False, 0.35),
    }  # fmt: skip
    runs = read_runs([write_study(tmp_path, seeds=6, settings=settings, n_rounds=9, n_test=300, n_pool=600)])
    beats, stabilizes, leads, zero = check_claims(runs, knees_of(runs))
    assert beats.verdict == "in part: 2 of 3 win, 1 lose"
    assert stabilizes.verdict.startswith("cannot tell") and "needs" in stabilizes.evidence.rows[0][-1]
    assert leads.verdict == "yes: ENT-MCD + CR wins against every setting of another strategy"
    assert zero.verdict == "yes: 1 of 1 win, 0 lose"


@pytest.mark.parametrize(
    ("qualities", "verdict"),
    [
        ((0.6, 0.3, 0.9), "no: Random wins against every ENT-MCD setting"),
        ((0.6, 0.2, 0.59), "cannot tell: the best ENT-MCD setting wins against 1 of 2 others"),
    ],
)
def test_what_leads_has_the_reason_of_its_rule(
    tmp_path: Path, qualities: tuple[float, float, float], verdict: str
) -> None:
    names = {"ENT-MCD": "entropy_mcd", "LC": "least_confidence", "Random": "random"}
    settings = {label: (name, False, q) for (label, name), q in zip(names.items(), qualities, strict=True)}
    runs = read_runs([write_study(tmp_path, seeds=6, settings=settings, n_test=300)])
    (leads,) = [c for c in check_claims(runs, knees_of(runs)) if c.claim == "ENT-MCD leads"]
    assert leads.verdict == verdict


def test_a_claim_without_its_settings_is_left_out(tmp_path: Path) -> None:
    runs = read_runs([write_study(tmp_path, seeds=2, settings=TWO, n_rounds=9, n_pool=600)])
    assert [c.claim for c in check_claims(runs, knees_of(runs))] == [
        "uncertainty beats random after 300 labels", "ENT-MCD leads",
    ]  # fmt: skip


def test_labels_saved_count_the_seeds_that_never_get_there(tmp_path: Path) -> None:
    settings = {"A": ("entropy", False, 0.7), "LC": ("least_confidence", False, 0.2), "Random": ("random", False, 0.5)}
    runs = read_runs([write_study(tmp_path, seeds=3, settings=settings, n_test=300)])
    rows = {row[0]: row for row in saved_table(runs, "test_balanced_accuracy", [0.4]).rows}
    assert rows["LC"][1:3] == ["over 200", "3 of 3"] and rows["LC"][3].startswith("-")
    assert rows["A"][2] == "0 of 3" and float(rows["A"][3].split("±")[0]) > 10
    assert rows["Random"][3] == "+0±0"
    lower = {row[0]: row for row in saved_table(runs, "test_mae", [1.0]).rows}
    assert lower["A"][2] == "0 of 3" and lower["LC"][2] == "3 of 3", "a metric that falls with quality"


def test_all_labels_stand_in_their_own_column(tmp_path: Path) -> None:
    table = paper_table(read_runs([write_study(tmp_path, seeds=2)]))
    assert table is not None and table.header[-2:] == ["all labels here", "all labels paper"]
    *curves, full = table.rows
    assert all(row[-2:] == ["", ""] and row[-3] for row in curves)
    assert full[-1] == "64.13±0.88" and "±" in full[-2] and not any(full[1:-2])


def test_the_papers_numbers_are_whole() -> None:
    paper = TABLE_2
    assert len(paper) == 9 * 4
    best = paper.sort_values("mean").iloc[-1]
    assert (best["strategy"], bool(best["consistency"]), best["n_labeled"], best["mean"]) == (
        "entropy_mcd",
        True,
        800,
        56.39,
    )


def test_overlap_counts_what_networks_asked_for(study: Path) -> None:
    settings = {s.label: s for s in read_runs([study]).settings}
    a, b = settings["ENT"], settings["LC"]
    shares = []
    for seed in range(3):
        left, right = set(queried(a.runs[seed])), set(queried(b.runs[seed]))
        shares.append(len(left & right) / 150)
    assert overlap(a, b) == pytest.approx(np.mean(shares))
    assert overlap(a, a) == 1.0


def test_overlap_stands_beside_what_chance_gives(tmp_path: Path) -> None:
    path = write_study(tmp_path, seeds=1, settings=TWO)
    assert "by chance" not in overlap_table(read_runs([path])).title, "the runs do not say how large their pool was"
    for run in path.glob("*-naive-seed0"):
        put(run / "rounds/000/state.json", json.dumps(PoolState({"a": 0}, tuple(map(str, range(350)))).to_dict()))
    assert f"by chance {100 * 150 / 350:.0f} %" in overlap_table(read_runs([path])).title


def test_cost_is_the_sum_of_the_seconds(tmp_path: Path) -> None:
    run = read_runs([write_run(tmp_path / "a", "entropy", False, 0)]).settings[0].first
    assert device_hours(run) == pytest.approx((10 + 11 + 12 + 13 + 4 * 2.1 + 4 * 1.0) / 3600)


def test_a_round_that_adds_no_label_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """After a query of unreadable knees alone, a run trains again on the same labels."""
    write_study(tmp_path / "study", seeds=2, settings=TWO)
    for file in (tmp_path / "study").glob("*-naive-*/rounds/00[23]/metrics.json"):
        metrics = json.loads(file.read_text())
        metrics["row"]["n_labeled"] -= 50
        put(file, json.dumps(metrics))
    write_report([tmp_path / "study"], tmp_path / "out")
    run = read_runs([tmp_path / "study"]).settings[0].first
    curve = run.curve("test_balanced_accuracy")
    assert curve.n_labeled.tolist() == [50, 100, 150]
    assert curve.values[1] == run.rounds["test_balanced_accuracy"][2]


def test_variants_of_a_setting_have_panels_of_their_own(tmp_path: Path) -> None:
    names = {"ENT": ("entropy", False, 0.5), "ENT + CR": ("entropy", True, 0.6), "Random": ("random", False, 0.4)}
    write_study(tmp_path, seeds=1, settings={**names, "ENT-MCD + CR, pretrained": ("entropy_mcd", True, 0.7)})
    figure = learning_curves(read_runs([tmp_path]), "test_balanced_accuracy")
    assert figure is not None
    panels = {ax.get_title(): [line.get_label() for line in ax.lines[:-2]] for ax in figure.axes if ax.get_title()}
    assert panels == {
        "ENT": ["naive", "consistency", "Random"],
        "ENT-MCD, pretrained": ["consistency", "Random"],
    }
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == [
        "naive",
        "consistency",
        "Random",
        "Full training set",
        "chance",
    ]
