"""Tables over seeds: a metric at label counts, its area, labels saved, cost, and the paper's numbers next to ours."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from kneeal.report.runs import Run, Runs, Setting
from kneeal.report.text import TextTable, fixed, heading, show
from kneeal.stats.metrics import find_metric
from kneeal.stats.summary import Curve, Summary, area, restricted_labels, summarize, summarize_at

#: The paper's Table 2: strategy, consistency, n_labeled, mean and error in %.
TABLE_2 = pd.read_csv(Path(__file__).with_name("paper_table2.csv"))
#: The paper's full training set, balanced accuracy in %, mean and standard error.
PAPER_FULL = (64.13, 0.88)


def metric_table(runs: Runs, metric: str, counts: Sequence[int]) -> TextTable:
    """Mean and standard error of a metric at exactly these label counts; runs with all labels have their own column."""
    free = runs.any_free_grades
    n = len(runs.seeds)
    everything = ["all"] if runs.baselines else []
    rows = []
    for setting in runs.settings:
        row = [setting.label, *[f"+ {setting.free_grades}"] * free]
        if setting.first.is_baseline:
            row += [*[""] * len(counts), show(last(setting, metric), metric, n_seeds=n)]
        else:
            curves = setting.curves(metric)
            row += [*(show(summarize_at(curves, c), metric, n_seeds=n) for c in counts), *[""] * len(everything)]
        rows.append(row)
    over = f"over {n} seeds" if n > 1 else "of one seed, which has no error"
    place = "validation" if metric.startswith("val_") else "test"
    return TextTable(
        f"{heading(metric)} on the {place} set, by number of labels",
        ["setting", *["validation grades"] * free, *map(str, counts), *everything],
        rows,
        [
            "",
            f"mean±standard error (s / √n) {over}",
            *["a run uses the validation grades in addition to its labels, to choose the epoch that it keeps"] * free,
            *runs.messages,
        ],
    )


def last(setting: Setting, metric: str) -> Summary | None:
    """A metric after the last round of each run, whatever its label count: for the baseline of all labels."""
    values = [curve.values[-1] for curve in setting.curves(metric).values() if len(curve.values)]
    return summarize(values) if values else None


def long_table(runs: Runs) -> pd.DataFrame:
    """Every metric of every setting at every label count, as numbers: for other programs."""
    rows = []
    for setting in runs.settings:
        for metric in runs.metrics:
            for n, found in setting.summaries(metric, runs.seeds):
                missing = " ".join(map(str, found.missing))
                rows.append((setting.label, metric, n, found.mean, found.error, found.n, missing))
    return pd.DataFrame(
        rows, columns=["setting", "metric", "n_labeled", "mean", "standard_error", "n_seeds", "missing_seeds"]
    )


def common_counts(metric: str, *settings: Setting) -> list[int]:
    """Label counts at which every run of some settings has a round, rising."""
    curves = [curve for setting in settings for curve in setting.curves(metric).values()]
    return sorted(set.intersection(*({int(n) for n in curve.n_labeled} for curve in curves)))


def common_range(runs: Runs, metric: str) -> tuple[int, int] | None:
    """The widest range of label counts at whose ends every run has a round."""
    common = common_counts(metric, *runs.curves) if runs.curves else []
    return (common[0], common[-1]) if len(common) > 1 else None


def area_summary(setting: Setting, metric: str, low: int, high: int) -> Summary | None:
    """Area under the budget curve over the seeds."""
    values = [value for curve in setting.curves(metric).values() if (value := area(curve, low, high)) is not None]
    return summarize(values) if values else None


def area_table(runs: Runs, metric: str) -> TextTable | None:
    """Area under the budget curve, divided by its range: the mean of the metric over the budget.

    None where no range of label counts is common to all runs.
    """
    span = common_range(runs, metric)
    if span is None:
        return None
    rows = [[s.label, show(area_summary(s, metric, *span), metric, n_seeds=len(runs.seeds))] for s in runs.curves]
    title = f"area under the budget curve from {span[0]} to {span[1]} labels, as the mean of {heading(metric)}"
    return TextTable(title, ["setting", "area"], rows)


def find_random(runs: Runs, *, consistency: bool = False) -> Setting | None:
    """The setting that queries at random, with or without consistency, or the other one if there is no such."""
    found = [s for s in runs.curves if s.first.strategy == "random"]
    return min(found, key=lambda s: s.first.consistency != consistency, default=None)


def saved_table(runs: Runs, metric: str, targets: Sequence[float] = ()) -> TextTable:
    """Labels needed for each target, and how many fewer than querying at random needs, paired by seed.

    Read from each seed's curve, on straight lines between rounds. A seed that does not reach the target by the last
    label count that all runs have counts with that count: means are restricted means. Without a target, it is what
    random reaches on average at its end.
    """
    random, shown = find_random(runs), find_metric(metric)
    sign = -1 if shown.lower_is_better else 1
    curves = {
        s.label: {seed: Curve(c.n_labeled, sign * c.values) for seed, c in s.curves(metric).items() if len(c.values)}
        for s in runs.curves
    }
    if random is None or not all(curves.values()):
        return TextTable("labels saved against random", ["setting"], [], ["", "no setting that queries at random"])
    budget = min(int(curve.n_labeled[-1]) for by_seed in curves.values() for curve in by_seed.values())
    targets = list(targets) or [dict(random.summaries(metric))[common_counts(metric, random)[-1]].mean]
    header, rows = ["setting"], []
    for target in targets:
        goal = f"{fixed(shown.factor * target, shown.digits)} {shown.unit}".strip()
        header += [f"labels for {goal}", "not reached by", "saved"]
    for label, by_seed in curves.items():
        row = [label]
        for target in targets:
            own = {seed: restricted_labels(curve, sign * target, budget) for seed, curve in by_seed.items()}
            other = {s: restricted_labels(c, sign * target, budget) for s, c in curves[random.label].items()}
            saved = [other[seed][0] - own[seed][0] for seed in own if seed in other]
            failed = sum(not reached for _, reached in own.values())
            never = failed == len(own)
            row += [
                f"over {budget}" if never else _show_labels(summarize([labels for labels, _ in own.values()])),
                f"{failed} of {len(own)}",
                _show_labels(summarize(saved), sign=True) if saved else "-",
            ]
        rows.append(row)
    return TextTable(
        f"labels needed for {heading(metric)}, and saved against {random.label}", header, rows,
        [
            "",
            f"mean±standard error over the seeds of the labels needed within {budget}; a seed that does not reach the "
            f"value counts with {budget} labels (a restricted mean), so what it needs is at least that",
        ],
    )  # fmt: skip


def device_hours(run: Run) -> float:
    """Hours of one device that the finished rounds took: fit, test, predict, select, times the devices."""
    seconds = run.rounds[["fit_seconds", "predict_seconds", "select_seconds"]].to_numpy(float)
    test = sum(float(run.folder.metrics(number)["test_seconds"]) for number in range(len(run.rounds)))
    return (float(np.nansum(seconds)) + test) * run.devices / 3600


def cost_table(runs: Runs) -> TextTable:
    """Device-hours and labels of each setting."""
    rows, whole = [], 0.0
    for setting in runs.settings:
        hours = [device_hours(run) for run in setting.runs.values()]
        labels = np.mean([run.rounds["n_labeled"].iloc[-1] for run in setting.runs.values()])
        whole += sum(hours)
        rows.append([setting.label, f"{len(hours)}", f"{np.mean(hours):.3f}", f"{sum(hours):.3f}", f"{labels:.0f}"])
    rows.append(["together", f"{len(runs.all)}", "", f"{whole:.3f}", ""])
    return TextTable("cost", ["setting", "runs", "device-hours per run", "device-hours", "labels per run"], rows)


def paper_table(runs: Runs) -> TextTable | None:
    """Balanced accuracy here next to the paper's, where both have it; None where they share no label count."""
    metric, n = "test_balanced_accuracy", len(runs.seeds)
    counts = [c for c in sorted(set(TABLE_2["n_labeled"])) if c in runs.label_counts]
    if metric not in runs.metrics or not counts:
        return None
    full = [s for s in runs.baselines if not s.first.consistency]
    rows = []
    for setting in runs.curves:
        first = setting.first
        rows_paper = TABLE_2[(TABLE_2["strategy"] == first.strategy) & (TABLE_2["consistency"] == first.consistency)]
        if rows_paper.empty:
            continue
        curves, row = setting.curves(metric), [setting.label]
        for count in counts:
            theirs = rows_paper[rows_paper["n_labeled"] == count].iloc[0]
            row += [show(summarize_at(curves, count), metric, n_seeds=n), f"{theirs['mean']:.2f}±{theirs['error']:.2f}"]
        rows.append([*row, *["", ""] * bool(full)])
    for setting in full:
        ours = show(last(setting, metric), metric, n_seeds=n)
        rows.append([setting.label, *["", ""] * len(counts), ours, "{:.2f}±{:.2f}".format(*PAPER_FULL)])
    columns = [*map(str, counts), *["all labels"] * bool(full)]
    header = ["setting", *(text for column in columns for text in (f"{column} here", f"{column} paper"))]
    return TextTable("balanced accuracy in % beside the paper's Table 2", header, rows) if rows else None


def _show_labels(summary: Summary, *, sign: bool = False) -> str:
    return fixed(summary.mean, 0, sign=sign) + (f"±{summary.error:.0f}" if summary.error is not None else "")
