"""What the strategies asked for: grades, patients, sites, and overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kneeal.report.runs import Run, Runs, Setting
from kneeal.report.text import TextTable

N_GRADES = 5


def grade_shares(setting: Setting) -> NDArray[np.float64]:
    """[Q, 5] share of each grade in each query, the first query included, mean over the seeds.

    Only queries that every seed has made and had answered.
    """
    by_seed = []
    for run in setting.runs.values():
        counts = [Counter(g for g in q.grades if g is not None) for q in run.queries()]
        by_seed.append([[c[g] / c.total() for g in range(N_GRADES)] for c in counts if c.total()])
    n = min(map(len, by_seed))
    shares = np.array([rows[:n] for rows in by_seed], dtype=np.float64).reshape(len(by_seed), n, N_GRADES)
    return np.asarray(shares.mean(axis=0), dtype=np.float64)


def asked(run: Run) -> list[str]:
    """Every knee that a network asked for: without the first query, which no strategy chose."""
    return [i for query in run.queries() if query.round >= 0 for i in query.ids]


def mix_table(runs: Runs, patients: Mapping[str, str], sites: Mapping[str, str]) -> TextTable:
    """Patients and sites of what was asked for, pooled over the seeds."""
    names = sorted(
        {site for s in runs.curves for run in s.runs.values() for i in asked(run) if (site := sites.get(i, ""))}
    )
    rows = []
    for setting in runs.curves:
        knees = [asked(run) for run in setting.runs.values()]
        total = sum(map(len, knees))
        if not total:
            continue
        distinct = [len({patients[i] for i in ids}) for ids in knees]
        grades = Counter(
            g for run in setting.runs.values() for q in run.queries() if q.round >= 0 for g in q.grades if g is not None
        )
        at = Counter(sites.get(i, "") for ids in knees for i in ids)
        rows.append([
            setting.label, f"{total / len(knees):.0f}", f"{np.mean(distinct):.0f}",
            *(f"{100 * grades[g] / max(1, grades.total()):.1f}" for g in range(N_GRADES)),
            *(f"{100 * at[name] / total:.1f}" for name in names),
        ])  # fmt: skip
    header = ["setting", "knees", "patients", *(f"KL {g} %" for g in range(N_GRADES)), *(f"site {n} %" for n in names)]
    return TextTable("what was asked for, the shared first query left out, mean over the seeds", header, rows)


def overlap(a: Setting, b: Setting) -> float | None:
    """Share of what one asked for that the other asked for too, in [0, 1], mean over common seeds.

    The shared first query does not count. Of the larger set, the part that could overlap is the size of the smaller.
    """
    if a is b:
        return 1.0 if any(asked(run) for run in a.runs.values()) else None
    shares = []
    for seed in a.runs.keys() & b.runs.keys():
        left, right = set(asked(a.runs[seed])), set(asked(b.runs[seed]))
        if left and right:
            shares.append(len(left & right) / min(len(left), len(right)))
    return float(np.mean(shares)) if shares else None


def overlap_matrix(runs: Runs) -> tuple[list[str], NDArray[np.float64]]:
    """Labels and [S, S] overlaps in [0, 1]; NaN where there is none."""
    values = [[found if (found := overlap(a, b)) is not None else np.nan for b in runs.curves] for a in runs.curves]
    return [s.label for s in runs.curves], np.array(values, dtype=np.float64)


def overlap_table(runs: Runs) -> TextTable:
    """Overlaps in percent."""
    names, values = overlap_matrix(runs)
    rows = [
        [name, *("-" if np.isnan(v) else f"{100 * v:.0f}" for v in row)]
        for name, row in zip(names, values, strict=True)
    ]
    return TextTable("overlap in % of what two settings asked for, same seed, first query left out", ["", *names], rows)
