"""How well readings agree, within a reader and between readers, and how long they take.

References:
    Cohen, "Weighted kappa: nominal scale agreement with provision for scaled disagreement or partial credit",
    Psychological Bulletin 70, 1968.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from kneeal.annotate.store import Store
from kneeal.data.grades import N_GRADES
from kneeal.stats.metrics import weighted_kappa
from kneeal.tables import csv_text

#: Resamples of the knees behind an interval.
N_BOOTSTRAP = 1000


@dataclass(frozen=True)
class Agreement:
    """Two readings of the same knees."""

    first: str  #: Reader, or reader's first reading.
    second: str  #: Other reader, or the same one's second reading.
    n: int  #: Knees that both graded.
    exact: float | None  #: Share with the same grade.
    quadratic: float | None  #: Quadratically weighted kappa; None where it is not defined (no knee, or one grade only).
    interval: tuple[float, float] | None  #: Its 95 % interval by bootstrap over the knees.
    linear: float | None  #: Linearly weighted kappa.
    unreadable: int  #: Knees that at least one of the two could not grade; they count in none of the above.


def compare(first: str, second: str, pairs: Sequence[tuple[int | None, int | None]]) -> Agreement:
    """Agreement of two readings, by their grades of the same knees; None is unreadable."""
    graded = np.array([(a, b) for a, b in pairs if a is not None and b is not None], dtype=np.int64).reshape(-1, 2)
    n, unreadable = len(graded), len(pairs) - len(graded)
    if n == 0:
        return Agreement(first, second, 0, None, None, None, None, unreadable)
    cells = graded[:, 0] * N_GRADES + graded[:, 1]
    table = np.bincount(cells, minlength=N_GRADES**2).reshape(N_GRADES, N_GRADES)
    exact = float(np.trace(table) / n)
    kappas = weighted_kappa(table), weighted_kappa(table, power=1)
    quadratic, linear = (None if np.isnan(kappa) else float(kappa) for kappa in kappas)
    interval = None
    if quadratic is not None and n > 1:
        draws = np.random.default_rng(0).multinomial(n, table.ravel() / n, size=N_BOOTSTRAP)
        resampled = weighted_kappa(draws.reshape(-1, N_GRADES, N_GRADES))
        low, high = np.nanpercentile(resampled, (2.5, 97.5)).tolist()
        interval = low, high
    return Agreement(first, second, n, exact, quadratic, interval, linear, unreadable)


def within_and_between(store: Store) -> tuple[list[Agreement], list[Agreement]]:
    """Agreement within each reader (first reading and silent repeat) and between each two readers (first readings)."""
    rows = store.read(
        "SELECT reader.name, knee.id AS knee, task.kind, answer.kl FROM task "
        "JOIN answer ON answer.id = task.current JOIN reader ON reader.id = task.reader "
        "JOIN knee ON knee.id = task.knee WHERE task.kind != 'adjudication' ORDER BY reader.id, knee.id"
    )
    grades: dict[str, dict[str, dict[int, int | None]]] = {"first": {}, "repeat": {}}
    for name, knee, kind, kl in rows:
        grades[kind].setdefault(name, {})[knee] = kl
    firsts = grades["first"]
    within = [
        compare(name, f"{name}, again", [(firsts[name][knee], kl) for knee, kl in again.items()])
        for name, again in grades["repeat"].items()
    ]
    between = [
        compare(a, b, [(kl, firsts[b][knee]) for knee, kl in firsts[a].items() if knee in firsts[b]])
        for a, b in combinations(firsts, 2)
    ]
    return within, between


def paces(store: Store) -> list[dict[str, Any]]:
    """How long each reader takes for a knee, in seconds, over her current answers; adjudications are left out."""
    result = []
    for reader, name in store.read("SELECT id, name FROM reader ORDER BY id"):
        undone = "SELECT count(*) FROM answer JOIN task ON task.id = answer.task WHERE task.reader = ? AND undone"
        rows = store.read(
            "SELECT answer.seconds, answer.kl IS NULL FROM task JOIN answer ON answer.id = task.current "
            "WHERE task.reader = ? AND task.kind != 'adjudication'",
            (reader,),
        )
        quartiles = np.percentile([row[0] for row in rows], (25, 50, 75)).tolist() if rows else None
        result.append({
            "reader": name, "n": len(rows), "unreadable": sum(row[1] for row in rows),
            "undone": store.read(undone, (reader,))[0][0],
            "median": quartiles and quartiles[1], "quartiles": quartiles and quartiles[::2],
        })  # fmt: skip
    return result


def readings_table(store: Store) -> str:
    """Every row of the history as CSV: who, when, how long, and what it replaced."""
    query = (
        "SELECT answer.id AS answer, knee.knee_id, knee.query, reader.name AS reader, task.kind, answer.kl, "
        "answer.reason, answer.undone, (task.current = answer.id) AS holds, answer.seconds, "
        "strftime('%Y-%m-%dT%H:%M:%fZ', answer.at, 'unixepoch') AS at, answer.replaces, answer.measurements, "
        "answer.findings, answer.comment, "
        "(task.looked IS NOT NULL) AS saw_prediction, CASE knee.state WHEN 'closed' THEN knee.rule END AS rule, "
        "CASE knee.state WHEN 'closed' THEN knee.kl END AS trained_on "
        "FROM answer JOIN task ON task.id = answer.task JOIN reader ON reader.id = task.reader "
        "JOIN knee ON knee.id = task.knee ORDER BY answer.id"
    )

    def view(db: sqlite3.Connection) -> list[Sequence[object]]:
        cursor = db.execute(query)
        return [[column[0] for column in cursor.description], *cursor]

    return csv_text(store.look(view))
