"""Readings on disk: the pending query, who reads what next, and every answer before the page moves on."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kneeal.annotate import answers
from kneeal.annotate.answers import Answer, next_task, read_task
from kneeal.annotate.assignment import ReadingPlan
from kneeal.annotate.database import Change, Database
from kneeal.annotate.progress import progress
from kneeal.annotate.tasks import Progress, Task, check_answer


class Store(Database):
    """The readings of one run, in one SQLite file; safe for many threads, and for several processes.

    Args:
        path: The file, made where it is not there.
        reads: Readers that each knee needs.
        repeat: Share of the knees that a reader is silently given twice, in [0, 1].
        timeout: Seconds to wait for another program's lock.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        path: Path,
        *,
        reads: int = 1,
        repeat: float = 0.0,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(path, timeout=timeout)
        self.reads = reads
        self.repeat = repeat
        self.clock = clock
        self._plan = ReadingPlan(reads, repeat, clock)

    # -- the query ---------------------------------------------------------------------------------------------------

    def sync(self, ids: Sequence[str], answered: Mapping[str, int | None]) -> None:
        """Take over the pending query of the run.

        Queries are numbered here: the run counts rounds, and its first query and that of its first round are both of
        round 0.

        Args:
            ids: Its knees, none while no query is pending. Those that are here already, open from an earlier query,
                keep their readings.
            answered: Answers that the run has already, from wherever.
        """
        now = self.clock()

        def change(db: sqlite3.Connection) -> None:
            newest = db.execute("SELECT coalesce(max(query), 0) FROM knee").fetchone()[0]
            known = {row[0] for row in db.execute("SELECT knee_id FROM knee WHERE query = ?", (newest,))}
            if ids and set(ids) != known:
                for position, knee_id in enumerate(ids):
                    db.execute(
                        "INSERT INTO knee (knee_id, query, position) VALUES (?, ?, ?) ON CONFLICT (knee_id) "
                        "DO UPDATE SET query = excluded.query, position = excluded.position",
                        (knee_id, newest + 1, position),
                    )
            for knee_id, kl in answered.items():
                db.execute(
                    "UPDATE knee SET state = 'closed', kl = ?, rule = 'file', closed = ? "
                    "WHERE knee_id = ? AND state != 'closed'",
                    (kl, now, knee_id),
                )

        self.write(change)

    def decide(self, ids: Sequence[str]) -> dict[str, int | None]:
        """Close the settled knees among `ids` for good, since they now go to training.

        Returns:
            Grade by knee id (None is unreadable) of all knees that are closed by readings, now or before.
        """
        now = self.clock()

        def change(db: sqlite3.Connection) -> list[sqlite3.Row]:
            for knee_id in ids:
                db.execute(
                    "UPDATE knee SET state = 'closed', closed = ? WHERE knee_id = ? AND state = 'settled'",
                    (now, knee_id),
                )
            return db.execute("SELECT knee_id, kl FROM knee WHERE state = 'closed' AND rule != 'file'").fetchall()

        decided = {row["knee_id"]: row["kl"] for row in self.write(change)}
        return {i: decided[i] for i in ids if i in decided}

    def counts(self) -> dict[str, int]:
        """Knees of the newest query by state, and how many of the settled and closed ones have a grade."""
        rows = self.read(
            "SELECT state, count(*) AS n, sum(kl IS NOT NULL) AS graded FROM knee "
            "WHERE query = (SELECT max(query) FROM knee) GROUP BY state"
        )
        counts = {"open": 0, "disagreed": 0, "settled": 0, "closed": 0, "graded": 0}
        for row in rows:
            counts[row["state"]] = row["n"]
            counts["graded"] += row["graded"] if row["state"] in ("settled", "closed") else 0
        return counts

    # -- reading -----------------------------------------------------------------------------------------------------

    def next(self, reader: int) -> Task | None:
        """The knee that a reader shall read now: the one she has before her, else the next one."""
        return self.write(lambda db: next_task(db, reader, self._plan))

    def task(self, reader: int, number: int) -> Task:
        """A task of a reader.

        Raises:
            RefusedError: It is not hers, or there is none.
        """
        return read_task(self.reader(), reader, number)

    def answering(self, reader: int, answer: Answer) -> Change[tuple[Task | None, Progress]]:
        """The change that takes an answer, to be made by `write` or `write_soon`: on disk when that returns.

        Args:
            reader: Who.
            answer: What she says.

        Returns:
            A change; it gives her next task and how far she is, and raises `RefusedError` where the task is not hers,
            its round is closed or the page is stale.

        Raises:
            RefusedError: The answer is none.
        """
        check_answer(answer.kl, answer.reason)

        def change(db: sqlite3.Connection) -> tuple[Task | None, Progress]:
            answers.record_answer(db, reader, answer, self._plan, self.clock())
            return next_task(db, reader, self._plan), progress(db, reader, self._plan)

        return change

    def undo(self, reader: int, *, nonce: str) -> Task | None:
        """Take back the reader's last answer and put that knee before her again.

        Raises:
            RefusedError: There is nothing to take back, or the last answer stands for good.
        """
        return self.write(lambda db: answers.undo_answer(db, reader, nonce, self._plan, self.clock()))

    def mark_prediction_seen(self, reader: int, number: int) -> Task:
        """Note that a reader is about to see the model's prediction for a knee she has answered.

        From then on her answer stands, so that no prediction ever changes one.

        Raises:
            RefusedError: She has not answered it yet, or is to read it again.
        """
        return self.write(lambda db: answers.mark_prediction_seen(db, reader, number, self.clock()))

    def progress(self, reader: int) -> Progress:
        """Where a reader is."""
        return progress(self.reader(), reader, self._plan)
