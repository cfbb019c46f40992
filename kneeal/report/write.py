"""Everything that `kneeal report` writes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kneeal.data.prepared import PreparedDataset
from kneeal.errors import UserError, count
from kneeal.files import disk_errors, write_atomic
from kneeal.report.claims import check_claims
from kneeal.report.comparisons import compare_settings, comparison_table, power_note, win_matrix
from kneeal.report.figures import draw_figures
from kneeal.report.page import TEMPLATES, make_page
from kneeal.report.queries import mix_table, overlap_table
from kneeal.report.reading import read_runs
from kneeal.report.runs import Runs, patient_in
from kneeal.report.tables import area_table, cost_table, long_table, metric_table, paper_table, saved_table
from kneeal.report.text import TextTable
from kneeal.stats.crossed import TestSet


def write_report(
    folders: Sequence[Path],
    out: Path,
    *,
    metric: str = "balanced_accuracy",
    labels: Sequence[int] = (),
    targets: Sequence[float] = (),
    data: Path | None = None,
    title: str = "Active learning for knee osteoarthritis",
    n_thumbnails: int = 2000,
) -> TextTable:
    """Write tables, figures, report.md and report.html, over those of an earlier report; returns the main table.

    Without `labels`, the table has the paper's label counts, or four over the range. `targets` are values of the metric
    to count the labels for. Without `data`, the data set is where the runs had it; without any there are no pictures
    and no sites.
    """
    runs = read_runs(folders)
    column = runs.metric(metric)
    counts = _counts(runs, labels)
    dataset, note = _dataset(runs, data)
    if note:
        runs = replace(runs, messages=(*runs.messages, note))
    if dataset is None:  # the patient is in the knee's name: <patient>_<side>
        ids = {*runs.test_predictions.ids, *(i for run in runs.all for q in run.queries for i in q.ids)}
        kl, sites, patients = dict[str, int](), dict[str, str](), {i: patient_in(i) for i in ids}
    else:
        known = dataset.manifest
        kl, sites, patients = known.kl, known.column("site"), known.patients
    main = metric_table(runs, column, counts)
    reached = Counter(n for s in runs.curves for n, _ in s.summaries(column))
    last = max((n for n in counts if reached[n] > 1), default=0)
    test = runs.test_predictions
    test_set = TestSet.of(test.kl, [patients[i] for i in test.ids])
    comparisons = compare_settings(runs, last, test_set)
    claims = check_claims(runs, test_set)
    found = {
        "table2_beside_paper": paper_table(runs),
        "area": area_table(runs, column),
        "labels_saved": saved_table(runs, column, targets),
        "comparisons": comparison_table(comparisons, last) if comparisons else None,
        "wins": win_matrix(comparisons) if comparisons else None,
        "asked": mix_table(runs, patients, sites, kl),
        "overlap": overlap_table(runs),
        "cost": cost_table(runs),
    }
    by_name = {name: table for name, table in found.items() if table is not None}
    tables = list(by_name.values())
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, table in {"table": main, **by_name}.items():
            notations = {"txt": table.text, "csv": table.csv, "md": table.markdown, "tex": table.latex}
            for suffix, text in notations.items():
                write_atomic(out / f"{name}.{suffix}", text())
        write_atomic(out / "curves.csv", long_table(runs).to_csv(index=False))
        figures = draw_figures(runs, column, out, kl)
    document = TEMPLATES.get_template("report.md").render(
        title=title, main=main, claims=claims, tables=tables, figures=figures
    )
    write_atomic(out / "report.md", document)
    page = make_page(
        runs, column, counts, title=title, claims=claims, tables=tables, kl=kl,
        provenance=_provenance(runs, dataset), power=power_note(comparisons), n_thumbnails=n_thumbnails,
        thumbnail=None if dataset is None else dataset.thumbnail,
    )  # fmt: skip
    write_atomic(out / "report.html", page)
    return main


def _provenance(runs: Runs, dataset: PreparedDataset | None) -> dict[str, str]:
    """What a report is made of, by name."""
    every = runs.all
    shared = {k: v for k, v in every[0].config.items() if all(run.config.get(k) == v for run in every)}
    found = {
        "data set": every[0].dataset or "unknown",
        "made from": "" if dataset is None else str(dataset.info.get("source", "")),
        "settings that all runs share": ", ".join(f"{key}={value}" for key, value in sorted(shared.items())),
    }
    for s in runs.settings:
        found[s.label] = "; ".join(
            f"seed {seed}: {run.path.name}, {count(len(run.rounds), 'round')}" for seed, run in s.runs.items()
        )
    return {name: text for name, text in found.items() if text}


def _counts(runs: Runs, labels: Sequence[int]) -> tuple[int, ...]:
    """Label counts of the table: those given, else the paper's, else four over the whole range."""
    have, paper = runs.label_counts, (50, 250, 500, 800)
    unknown = [n for n in labels if n not in have]
    if unknown:
        raise UserError(
            f"no round with {', '.join(map(str, unknown))} labels",
            f"label counts among {', '.join(map(str, have))}",
            "correct --labels; nothing is interpolated",
        )
    if labels or set(paper) <= set(have):
        return tuple(labels) or paper
    return tuple(sorted({have[round(k * (len(have) - 1) / 3)] for k in range(4)})) if have else ()


def _dataset(runs: Runs, given: Path | None) -> tuple[PreparedDataset | None, str]:
    """The data set, if it is where it should be, and else a message."""
    named = given or next((Path(run.data_dir) for run in runs.all if run.data_dir), None)
    dataset = None if named is None or (given is None and not named.is_dir()) else PreparedDataset.open(named)
    if dataset is not None and dataset.fingerprint == runs.all[0].dataset:
        return dataset, ""
    if given is not None:
        raise UserError(f"{given} is not the data set that the runs were made of", "that one", "correct --data")
    where = f" ({named})" if named else ""
    what = "not available" if dataset is None else "not the one that the runs were made of"
    return None, f"the data set{where} is {what}, so there are no pictures and no sites; give --data DIR"
