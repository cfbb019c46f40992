"""How well readings agree, within a reader and between readers, and how long they take.

References:
    Cohen, "Weighted kappa: nominal scale agreement with provision for scaled disagreement or partial credit",
    Psychological Bulletin 70, 1968.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kneeal.annotate.store import Store
from kneeal.data.grades import N_GRADES

#: Resamples of the knees behind an interval.
N_BOOTSTRAP = 1000


@dataclass(frozen=True)
class Agreement:
    """Two readings of the same knees.

    Attributes:
        first: Reader, or reader's first reading.
        second: Other reader, or the same one's second reading.
        n: Knees that both graded.
        exact: Share with the same grade.
        quadratic: Quadratically weighted kappa; None where it is not defined (no knee, or one grade only).
        interval: Its 95 % interval by bootstrap over the knees.
        linear: Linearly weighted kappa.
        unreadable: Knees that at least one of the two could not grade; they count in none of the above.
    """

    first: str
    second: str
    n: int
    exact: float | None
    quadratic: float | None
    interval: tuple[float, float] | None
    linear: float | None
    unreadable: int


@dataclass(frozen=True)
class Pace:
    """How long one reader takes.

    Attributes:
        reader: Her name.
        n: Answers that hold.
        unreadable: Of these, knees that she could not grade.
        undone: Answers that she took back.
        median: Seconds a knee.
        quartiles: Of the seconds.
    """

    reader: str
    n: int
    unreadable: int
    undone: int
    median: float | None
    quartiles: tuple[float, float] | None


def weighted_kappa(table: NDArray[np.floating[Any]] | NDArray[np.integer[Any]], power: int = 2) -> NDArray[np.float64]:
    """Weighted kappa of tables of counts.

    Args:
        table: [..., C, C], first reading by second.
        power: 1 for linear, 2 for quadratic weights.

    Returns:
        [...] in [-1, 1]; NaN where chance leaves nothing to disagree about.
    """
    counts = np.asarray(table, np.float64)
    grades = np.arange(counts.shape[-1])
    weights = np.abs(grades[:, None] - grades[None, :]).astype(np.float64) ** power
    n = counts.sum(axis=(-2, -1))
    expected = counts.sum(axis=-1)[..., :, None] * counts.sum(axis=-2)[..., None, :]
    observed = (weights * counts).sum(axis=(-2, -1)) * n
    chance = (weights * expected).sum(axis=(-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        kappa: NDArray[np.float64] = np.where(chance > 0, 1.0 - observed / chance, np.nan)
    return kappa


def compare(first: str, second: str, pairs: Sequence[tuple[int | None, int | None]], *, seed: int = 0) -> Agreement:
    """Agreement of two readings.

    Args:
        first: What to call the first.
        second: What to call the second.
        pairs: Their grades of the same knees; None is unreadable.
        seed: Of the bootstrap.
    """
    graded = np.array([(a, b) for a, b in pairs if a is not None and b is not None], dtype=np.int64).reshape(-1, 2)
    n, unreadable = len(graded), len(pairs) - len(graded)
    if n == 0:
        return Agreement(first, second, 0, None, None, None, None, unreadable)
    cells = graded[:, 0] * N_GRADES + graded[:, 1]
    table = np.bincount(cells, minlength=N_GRADES**2).reshape(N_GRADES, N_GRADES)
    draws = np.random.default_rng(seed).multinomial(n, table.ravel() / n, size=N_BOOTSTRAP)
    resampled = weighted_kappa(draws.reshape(-1, N_GRADES, N_GRADES))
    resampled = resampled[~np.isnan(resampled)]
    quadratic = _number(weighted_kappa(table))
    interval = None
    if quadratic is not None and n > 1 and len(resampled):
        low, high = np.percentile(resampled, (2.5, 97.5))
        interval = float(low), float(high)
    exact = float((graded[:, 0] == graded[:, 1]).mean())
    return Agreement(
        first, second, n, exact, quadratic, interval, _number(weighted_kappa(table, power=1)), unreadable
    )  # fmt: skip


def within_and_between(store: Store) -> tuple[list[Agreement], list[Agreement]]:
    """Agreement within each reader (first reading and silent repeat) and between each two readers (first readings)."""
    rows = store.read(
        "SELECT reader.name, knee.id AS knee, task.kind, answer.kl FROM task "
        "JOIN answer ON answer.id = task.current JOIN reader ON reader.id = task.reader "
        "JOIN knee ON knee.id = task.knee WHERE task.kind != 'adjudication' ORDER BY reader.id, knee.id"
    )
    firsts: dict[str, dict[int, int | None]] = {}
    repeats: dict[str, dict[int, int | None]] = {}
    for row in rows:
        (firsts if row["kind"] == "first" else repeats).setdefault(row["name"], {})[row["knee"]] = row["kl"]
    within = [
        compare(name, f"{name}, again", [(firsts[name][knee], kl) for knee, kl in again.items()])
        for name, again in repeats.items()
    ]
    between = [
        compare(a, b, [(kl, firsts[b][knee]) for knee, kl in firsts[a].items() if knee in firsts[b]])
        for a, b in combinations(firsts, 2)
    ]
    return within, between


def paces(store: Store) -> list[Pace]:
    """How long each reader takes for a knee; adjudications are left out."""
    result = []
    for reader in store.read("SELECT id, name FROM reader ORDER BY id"):
        rows = store.read(
            "SELECT answer.seconds, answer.kl FROM task JOIN answer ON answer.id = task.current "
            "WHERE task.reader = ? AND task.kind != 'adjudication'",
            (reader["id"],),
        )
        undone = store.read(
            "SELECT count(*) AS n FROM answer JOIN task ON task.id = answer.task WHERE task.reader = ? AND undone",
            (reader["id"],),
        )[0]["n"]
        seconds = [row["seconds"] for row in rows]
        low, median, high = np.percentile(seconds, (25, 50, 75)) if seconds else (None, None, None)
        result.append(
            Pace(
                reader["name"],
                len(rows),
                sum(row["kl"] is None for row in rows),
                undone,
                None if median is None else float(median),
                None if low is None or high is None else (float(low), float(high)),
            )
        )
    return result


def readings_table(store: Store) -> str:
    """Every row of the history as CSV: who, when, how long, and what it replaced."""
    rows = store.read(
        "SELECT answer.id AS answer, knee.knee_id, knee.query, reader.name AS reader, task.kind, answer.kl, "
        "answer.reason, answer.undone, (task.current = answer.id) AS holds, answer.seconds, "
        "strftime('%Y-%m-%dT%H:%M:%fZ', answer.at, 'unixepoch') AS at, answer.replaces, answer.measurements, "
        "answer.findings, answer.comment, "
        "(task.looked IS NOT NULL) AS saw_prediction, CASE knee.state WHEN 'closed' THEN knee.rule END AS rule, "
        "CASE knee.state WHEN 'closed' THEN knee.kl END AS trained_on "
        "FROM answer JOIN task ON task.id = answer.task JOIN reader ON reader.id = task.reader "
        "JOIN knee ON knee.id = task.knee ORDER BY answer.id"
    )
    header = [
        "answer", "knee_id", "query", "reader", "kind", "kl", "reason", "undone", "holds", "seconds", "at", "replaces",
        "measurements", "findings", "comment", "saw_prediction", "rule", "trained_on",
    ]  # fmt: skip
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    for row in rows:
        table.writerow(["" if row[name] is None else row[name] for name in header])
    return text.getvalue()


def _number(value: NDArray[np.float64]) -> float | None:
    return None if np.isnan(value) else float(value)
