"""Readings on disk: the pending query, who reads what next, and every answer before the page moves on."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

from kneeal.annotate.assignment import ReadingPlan, inform, read_plan, settle
from kneeal.annotate.database import transaction
from kneeal.annotate.readings import Readings
from kneeal.annotate.schema import STORE
from kneeal.errors import UserError


class Store(Readings):
    """The readings of one run, and which of them settle its queries."""

    @property
    def id(self) -> str:
        """Tells the stores of two runs apart."""
        return str(self.read("SELECT value FROM setting WHERE name = 'id'")[0][0])

    @property
    def plan(self) -> ReadingPlan | None:
        """How knees are assigned; None before it is set."""
        is_set = self.read("SELECT 1 FROM setting WHERE name = 'reads'")
        return self.look(read_plan) if is_set else None

    def set_plan(self, plan: ReadingPlan, *, dry: bool = False) -> dict[str, int]:
        """Assign knees by another plan from now on, and apply it to what is not closed; with `dry`, change nothing.

        Silent repeats that were planned stay; another share holds from the next query on. Returns how many knees of
        the newest query are in each state then.
        """

        def change(db: sqlite3.Connection) -> dict[str, int]:
            values = [("reads", str(plan.reads)), ("repeat", str(plan.repeat))]
            db.executemany("INSERT OR REPLACE INTO setting VALUES (?, ?)", values)
            for (knee,) in db.execute("SELECT id FROM knee WHERE state != 'closed'").fetchall():
                settle(db, knee)
            return _counts(db)

        return self.try_out(change) if dry else self.write(change)

    @transaction
    def sync(self, db: sqlite3.Connection, ids: Sequence[str], answered: Mapping[str, int | None]) -> None:
        """Take over the pending query of the run, and the answers that the run has from elsewhere.

        Queries are numbered here: the run counts rounds, and its first query and that of its first round are both of
        round 0. Knees that are still open from an earlier query keep their readings.
        """
        newest = db.execute("SELECT coalesce(max(query), 0) FROM knee").fetchone()[0]
        known = {row[0] for row in db.execute("SELECT knee_id FROM knee WHERE query = ?", (newest,))}
        if ids and set(ids) != known:
            db.executemany(
                "INSERT INTO knee (knee_id, query, position) VALUES (?, ?, ?) ON CONFLICT (knee_id) "
                "DO UPDATE SET query = excluded.query, position = excluded.position",
                [(knee_id, newest + 1, position) for position, knee_id in enumerate(ids)],
            )
        now = self.clock()
        db.executemany(
            "UPDATE knee SET state = 'closed', kl = ?, rule = 'file', closed = ? "
            "WHERE knee_id = ? AND state != 'closed'",
            [(kl, now, knee_id) for knee_id, kl in answered.items()],
        )

    def settled(self, ids: Sequence[str]) -> dict[str, int | None]:
        """Grades of the knees among `ids` that readings have settled, None for an unreadable knee."""
        return self.look(lambda db: _grades(db, ids, "settled", "closed"))

    @transaction
    def decide(self, db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, int | None]:
        """Close the settled knees among `ids` for good, since they now go to training.

        Returns the grades of all of them that readings have closed, None for an unreadable knee.
        """
        now = self.clock()
        close = "UPDATE knee SET state = 'closed', closed = ? WHERE knee_id = ? AND state = 'settled'"
        db.executemany(close, [(now, knee_id) for knee_id in ids])
        return _grades(db, ids, "closed")

    def counts(self) -> dict[str, int]:
        """Knees of the newest query by state, and how many of the settled and closed ones have a grade."""
        return self.look(_counts)

    def last_answer(self) -> tuple[int, float]:
        """Number of the last answer or undo, and when it came in seconds since 1970; 0 before the first."""
        found = self.read("SELECT id, at FROM answer ORDER BY id DESC LIMIT 1")
        return tuple(found[0]) if found else (0, 0.0)

    def reasons(self) -> dict[str, str]:
        """Why knees that are settled as unreadable are, by knee id."""
        rows = self.read(
            "SELECT knee.knee_id, answer.reason FROM knee JOIN task ON task.knee = knee.id "
            "JOIN answer ON answer.id = task.current WHERE knee.kl IS NULL AND answer.reason IS NOT NULL "
            "AND knee.state IN ('settled', 'closed') ORDER BY task.kind = 'adjudication'"
        )
        return {row["knee_id"]: row["reason"] for row in rows}

    def inform(self, reader: int) -> None:
        """Note that a reader is about to see readings of others; from then on hers stand in this query."""
        self.write(lambda db: inform(db, reader))

    def informed(self, reader: int) -> bool:
        """Whether a reader has been shown readings of others in this query."""
        query = "SELECT informed = (SELECT coalesce(max(query), 0) FROM knee) FROM reader WHERE id = ?"
        return bool(self.read(query, (reader,))[0][0])


@contextmanager
def open_store(run: Path) -> Iterator[Store]:
    """The store of a run that was annotated; a start that failed may have left one without a plan.

    Raises:
        UserError: Nobody has annotated it.
    """
    path = run / STORE
    with closing(Store(path)) if path.is_file() else nullcontext() as store:
        if store is None or store.plan is None:
            raise UserError(
                f"nobody has annotated {run} yet",
                "a run that is served",
                "start `kneeal annotate` first, or give `kneeal tell` a file of answers",
            )
        yield store


def _grades(db: sqlite3.Connection, ids: Sequence[str], *states: str) -> dict[str, int | None]:
    """Grades of the knees among `ids` that are in one of some states by their readings."""
    query = f"SELECT knee_id, kl FROM knee WHERE rule != 'file' AND state IN ({', '.join('?' * len(states))})"
    found = dict(db.execute(query, states).fetchall())
    return {i: found[i] for i in ids if i in found}


def _counts(db: sqlite3.Connection) -> dict[str, int]:
    counts = {"open": 0, "disagreed": 0, "settled": 0, "closed": 0, "graded": 0}
    for row in db.execute(
        "SELECT state, count(*) AS n, sum(kl IS NOT NULL) AS graded FROM knee "
        "WHERE query = (SELECT max(query) FROM knee) GROUP BY state"
    ):
        counts[row["state"]] = row["n"]
        counts["graded"] += row["graded"] if row["state"] in ("settled", "closed") else 0
    return counts
