"""What the strategies queried: grades, patients, sites, and overlap."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from kneeal.data.grades import N_GRADES
from kneeal.loop.folder import STATE
from kneeal.report.runs import Run, Runs, Setting
from kneeal.report.text import TextTable


def shares(grades: Iterable[int | None]) -> list[float] | None:
    """Share of each grade among those known; None if no grade is known."""
    counts = Counter(g for g in grades if g is not None)
    return [counts[g] / counts.total() for g in range(N_GRADES)] if counts else None


def grade_shares(setting: Setting) -> NDArray[np.float64]:
    """[Q, 5] share of each grade in each query, the first query included, mean over the seeds.

    Only queries that every seed has made and had answered.
    """
    by_seed = [[s for q in run.queries if (s := shares(q.grades))] for run in setting.runs.values()]
    n = min(map(len, by_seed))
    found = np.array([rows[:n] for rows in by_seed], dtype=np.float64).reshape(len(by_seed), n, N_GRADES)
    return np.asarray(found.mean(axis=0), dtype=np.float64)


def queried(run: Run) -> list[str]:
    """Every knee that a network asked for: without the first query, which no strategy chose."""
    return [i for query in run.queries if query.round >= 0 for i in query.ids]


def pool_shares(runs: Runs, kl: Mapping[str, int]) -> list[float] | None:
    """Share of each grade in the pool that the queries were made from, mean over the seeds.

    Without the data set's grades `kl`, they are taken from runs that labeled the whole pool.
    """
    found = []
    if kl and runs.curves:
        for run in runs.curves[0].runs.values():
            first = run.queries[0].ids if run.queries else ()
            found.append(shares(kl.get(i) for i in (*first, *unlabeled(run))))
    else:
        found = [shares(g for q in run.queries for g in q.grades) for s in runs.baselines for run in s.runs.values()]
    known = [row for row in found if row is not None]
    return [float(share) for share in np.mean(known, axis=0)] if known else None


def unlabeled(run: Run) -> tuple[str, ...]:
    """The pool that the first strategy's query was made from; empty where the run does not say."""
    return run.folder.state(0).unlabeled if (run.folder.round(0) / STATE).is_file() else ()


def mix_table(runs: Runs, patients: Mapping[str, str], sites: Mapping[str, str], kl: Mapping[str, int]) -> TextTable:
    """Patients, grades and sites of what was queried, pooled over the seeds, below the grades of the pool."""
    names = sorted(
        {site for s in runs.curves for run in s.runs.values() for i in queried(run) if (site := sites.get(i, ""))}
    )
    pool = pool_shares(runs, kl)
    rows = [["(the pool)", "", "", *(f"{100 * share:.1f}" for share in pool), *[""] * len(names)]] if pool else []
    for setting in runs.curves:
        knees = [queried(run) for run in setting.runs.values()]
        total = sum(map(len, knees))
        if not total:
            continue
        distinct = [len({patients[i] for i in ids}) for ids in knees]
        grades = shares(g for run in setting.runs.values() for q in run.queries if q.round >= 0 for g in q.grades)
        at = Counter(sites.get(i, "") for ids in knees for i in ids)
        rows.append([
            setting.label, f"{total / len(knees):.0f}", f"{np.mean(distinct):.0f}",
            *(f"{100 * share:.1f}" for share in grades or [0.0] * N_GRADES),
            *(f"{100 * at[name] / total:.1f}" for name in names),
        ])  # fmt: skip
    header = ["setting", "knees", "patients", *(f"KL {g} %" for g in range(N_GRADES)), *(f"site {n} %" for n in names)]
    return TextTable("what was queried, the shared first query left out, mean over the seeds", header, rows)


def overlap(a: Setting, b: Setting) -> float:
    """Share of what one queried that the other queried too, in [0, 1], mean over common seeds; NaN without any.

    The shared first query does not count. Of the larger set, the part that could overlap is the size of the smaller.
    """
    if a is b:
        return 1.0 if any(queried(run) for run in a.runs.values()) else math.nan
    found = []
    for seed in a.runs.keys() & b.runs.keys():
        left, right = set(queried(a.runs[seed])), set(queried(b.runs[seed]))
        if left and right:
            found.append(len(left & right) / min(len(left), len(right)))
    return float(np.mean(found)) if found else math.nan


def overlap_by_chance(runs: Runs) -> float | None:
    """The overlap of two sets drawn at random from the pool, each as large as what the settings queried on average."""
    sizes = [(len(queried(run)), len(pool)) for s in runs.curves for run in s.runs.values() if (pool := unlabeled(run))]
    return float(np.mean([n / size for n, size in sizes])) if sizes else None


def overlap_matrix(runs: Runs) -> tuple[list[str], NDArray[np.float64]]:
    """Labels and [S, S] overlaps in [0, 1]; NaN where nothing was queried."""
    values = [[overlap(a, b) for b in runs.curves] for a in runs.curves]
    return [s.label for s in runs.curves], np.array(values, dtype=np.float64)


def overlap_table(runs: Runs) -> TextTable:
    """Overlaps in percent, with what chance gives."""
    names, values = overlap_matrix(runs)
    chance = overlap_by_chance(runs)
    rows = [
        [name, *("-" if np.isnan(v) else f"{100 * v:.0f}" for v in row)]
        for name, row in zip(names, values, strict=True)
    ]
    beside = f", by chance {100 * chance:.0f} %" if chance is not None else ""
    title = f"overlap in % of what two settings queried{beside}; same seed, first query left out"
    return TextTable(title, ["", *names], rows)
