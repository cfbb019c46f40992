"""Readings on disk: who reads what next, and every answer before the page moves on."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kneeal.annotate.assignment import Rules, claim, plan_repeat
from kneeal.annotate.database import Database
from kneeal.annotate.reading import Progress, RefusedError, Task, check_answer
from kneeal.annotate.rules import Reading, judge


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
        self._rules = Rules(reads, repeat, clock)

    # -- the query ---------------------------------------------------------------------------------------------------

    def sync(self, round: int, ids: Sequence[str], answered: Mapping[str, int | None]) -> None:
        """Take over the pending query of the run.

        Args:
            round: Its round.
            ids: Its knees. Those that are here already, open from an earlier query, keep their readings.
            answered: Answers that the run has already, from wherever.
        """
        now = self.clock()

        def change(db: sqlite3.Connection) -> None:
            for position, knee_id in enumerate(ids):
                db.execute(
                    "INSERT INTO knee (knee_id, round, position) VALUES (?, ?, ?) "
                    "ON CONFLICT (knee_id) DO UPDATE SET round = excluded.round, position = excluded.position "
                    "WHERE state != 'closed' AND (round, position) != (excluded.round, excluded.position)",
                    (knee_id, round, position),
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
            "WHERE round = (SELECT max(round) FROM knee) GROUP BY state"
        )
        counts = {"open": 0, "disagreed": 0, "settled": 0, "closed": 0, "graded": 0}
        for row in rows:
            counts[row["state"]] = row["n"]
            counts["graded"] += row["graded"] if row["state"] in ("settled", "closed") else 0
        return counts

    # -- reading -----------------------------------------------------------------------------------------------------

    def next(self, reader: int) -> Task | None:
        """The knee that a reader shall read now: the one she has before her, else the next one."""
        return self.write(lambda db: self._claim(db, reader))

    def task(self, reader: int, number: int) -> Task:
        """A task of a reader.

        Raises:
            RefusedError: It is not hers, or there is none.
        """
        return self._task(self.reader(), reader, number)

    def answer(
        self,
        reader: int,
        number: int,
        *,
        nonce: str,
        seen: int | None,
        kl: int | None = None,
        reason: str | None = None,
        seconds: float = 0.0,
        measurements: Sequence[Mapping[str, Any]] = (),
    ) -> Task | None:
        """Take an answer; it is on disk when this returns.

        Args:
            reader: Who.
            number: The task.
            nonce: Name of this request; the same request sent again changes nothing.
            seen: The answer that the page believes to hold, None for none.
            kl: The grade.
            reason: Why there is none, instead.
            seconds: For how long the knee was before her.
            measurements: What she measured.

        Returns:
            The next task.

        Raises:
            RefusedError: The grade is none, the task is not hers, its round is closed, or the page is stale.
        """
        check_answer(kl, reason)

        def change(db: sqlite3.Connection) -> Task | None:
            earlier = db.execute("SELECT task, kl, reason FROM answer WHERE nonce = ?", (nonce,)).fetchone()
            if earlier is not None:
                if tuple(earlier) != (number, kl, reason):
                    raise RefusedError(
                        409, "one request with two answers", "a new nonce an answer", "load the page again"
                    )
                return self._claim(db, reader)
            task = self._task(db, reader, number)
            self._refuse(db, task, seen)
            cursor = db.execute(
                "INSERT INTO answer (task, kl, reason, seconds, at, replaces, nonce, measurements) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (number, kl, reason, seconds, self.clock(), self._last(db, number), nonce, json.dumps(measurements)),
            )
            db.execute("UPDATE task SET current = ? WHERE id = ?", (cursor.lastrowid, number))
            knee = self._knee_of(db, number)
            if task.kind == "first":
                plan_repeat(db, reader, knee, task.knee_id, self._rules)
            self._judge(db, knee)
            return self._claim(db, reader)

        return self.write(change)

    def undo(self, reader: int, *, nonce: str) -> Task | None:
        """Take back the reader's last answer and put that knee before her again.

        Raises:
            RefusedError: There is nothing to take back, or the last answer stands for good.
        """

        def change(db: sqlite3.Connection) -> Task | None:
            if db.execute("SELECT 1 FROM answer WHERE nonce = ?", (nonce,)).fetchone():
                return self._claim(db, reader)
            row = db.execute(
                "SELECT task.id FROM task JOIN answer ON answer.id = task.current "
                "WHERE task.reader = ? ORDER BY answer.id DESC LIMIT 1",
                (reader,),
            ).fetchone()
            if row is None:
                raise RefusedError(409, "nothing to undo", "an answer of yours", "grade a knee first")
            task = self._task(db, reader, row["id"])
            self._refuse(db, task, task.current)
            knee = self._knee_of(db, task.id)
            if (
                task.kind != "adjudication"
                and db.execute(
                    "SELECT 1 FROM task WHERE knee = ? AND kind = 'adjudication' AND current IS NOT NULL", (knee,)
                ).fetchone()
            ):
                raise RefusedError(
                    409, "an answer to a knee that was adjudicated", "one that is still open", "ask the adjudicator"
                )
            db.execute(
                "INSERT INTO answer (task, undone, seconds, at, replaces, nonce) VALUES (?, 1, 0, ?, ?, ?)",
                (task.id, self.clock(), task.current, nonce),
            )
            db.execute("UPDATE task SET current = NULL, begun = ? WHERE id = ?", (self.clock(), task.id))
            if task.kind == "first":
                db.execute(
                    "DELETE FROM task WHERE knee = ? AND reader = ? AND kind = 'repeat' AND current IS NULL "
                    "AND NOT EXISTS (SELECT 1 FROM answer WHERE answer.task = task.id)",
                    (knee, reader),
                )
            self._judge(db, knee)
            return self._task(db, reader, task.id)

        return self.write(change)

    def look(self, reader: int, number: int) -> Task:
        """Note that a reader is about to see the model's prediction for a knee she has answered.

        From then on her answer stands, so that no prediction ever changes one.

        Raises:
            RefusedError: She has not answered it yet, or is to read it again.
        """

        def change(db: sqlite3.Connection) -> Task:
            task = self._task(db, reader, number)
            knee = self._knee_of(db, number)
            if db.execute(
                "SELECT 1 FROM task WHERE knee = ? AND reader = ? AND current IS NULL", (knee, reader)
            ).fetchone():
                raise RefusedError(
                    409, "the model's prediction before the reading is done", "all your readings of that knee", "later"
                )
            db.execute("UPDATE task SET looked = coalesce(looked, ?) WHERE id = ?", (self.clock(), number))
            return task

        return self.write(change)

    def progress(self, reader: int) -> Progress:
        """Where a reader is."""
        db = self.reader()
        adjudicates = db.execute("SELECT adjudicates FROM reader WHERE id = ?", (reader,)).fetchone()[0]
        own = db.execute(
            "SELECT count(*) FROM task JOIN knee ON knee.id = task.knee "
            "WHERE task.reader = ? AND task.current IS NULL AND knee.state IN ('open', 'disagreed')", (reader,)
        ).fetchone()[0]  # fmt: skip
        free = db.execute(
            "SELECT count(*) FROM knee WHERE state = 'open' AND taken < ?", (self.reads,)
        ).fetchone()[0]  # fmt: skip
        mine = db.execute(
            "SELECT count(*) FROM task JOIN knee ON knee.id = task.knee WHERE task.reader = ? "
            "AND task.kind = 'first' AND knee.state = 'open' AND knee.taken < ?", (reader, self.reads)
        ).fetchone()[0]  # fmt: skip
        disputed = db.execute(
            "SELECT count(*) FROM knee WHERE state = 'disagreed' AND NOT EXISTS "
            "(SELECT 1 FROM task WHERE task.knee = knee.id AND kind = 'adjudication')"
        ).fetchone()[0]
        done = db.execute(
            "SELECT count(*) FROM task JOIN knee ON knee.id = task.knee WHERE task.reader = ? "
            "AND task.current IS NOT NULL AND knee.round = (SELECT max(round) FROM knee)", (reader,)
        ).fetchone()[0]  # fmt: skip
        times = [
            row[0]
            for row in db.execute(
                "SELECT answer.seconds FROM task JOIN answer ON answer.id = task.current "
                "WHERE task.reader = ? ORDER BY answer.id DESC LIMIT 20", (reader,)
            )
        ]  # fmt: skip
        pace = sorted(times)[len(times) // 2] if times else None
        return Progress(done, own + free - mine + (disputed if adjudicates else 0), pace)

    # -- inside a transaction ----------------------------------------------------------------------------------------

    def _claim(self, db: sqlite3.Connection, reader: int) -> Task | None:
        number = claim(db, reader, self._rules)
        return None if number is None else self._task(db, reader, number)

    def _judge(self, db: sqlite3.Connection, knee: int) -> None:
        rows = db.execute(
            "SELECT task.kind, task.reader, answer.kl, task.current FROM task "
            "LEFT JOIN answer ON answer.id = task.current WHERE task.knee = ?",
            (knee,),
        ).fetchall()
        given = [row for row in rows if row["current"] is not None]
        verdict = judge(
            [Reading(row["reader"], row["kl"]) for row in given if row["kind"] != "adjudication"],
            wanted=self.reads,
            pending=any(row["kind"] == "repeat" and row["current"] is None for row in rows),
            adjudicated=[Reading(row["reader"], row["kl"]) for row in given if row["kind"] == "adjudication"],
        )
        db.execute(
            "UPDATE knee SET state = ?, kl = ?, rule = ? WHERE id = ? AND state != 'closed'",
            (verdict.state, verdict.kl, verdict.rule, knee),
        )

    def _task(self, db: sqlite3.Connection, reader: int, number: int) -> Task:
        row = db.execute(
            "SELECT task.id, task.kind, task.current, knee.knee_id, knee.id AS knee FROM task "
            "JOIN knee ON knee.id = task.knee WHERE task.id = ? AND task.reader = ?",
            (number, reader),
        ).fetchone()
        if row is None:
            raise RefusedError(404, f"task {number}", "a task of yours", "load the page again")
        grades: tuple[int | None, ...] = ()
        if row["kind"] == "adjudication":
            answers = db.execute(
                "SELECT answer.kl FROM task JOIN answer ON answer.id = task.current "
                "WHERE task.knee = ? AND task.kind != 'adjudication'",
                (row["knee"],),
            )
            # Sorted, so that the order does not tell who gave which.
            grades = tuple(sorted((a["kl"] for a in answers), key=lambda kl: -1 if kl is None else kl))
        return Task(row["id"], row["knee_id"], row["kind"], row["current"], grades)

    def _refuse(self, db: sqlite3.Connection, task: Task, seen: int | None) -> None:
        knee = db.execute("SELECT state FROM knee WHERE id = ?", (self._knee_of(db, task.id),)).fetchone()
        if knee["state"] == "closed":
            raise RefusedError(
                409, "an answer to a round that is closed", "an answer to the pending query", "go on with the next knee"
            )
        if task.current != seen:
            raise RefusedError(
                409,
                "a stale page: this knee was answered elsewhere since the page was loaded",
                "a page that shows what is stored",
                "nothing was changed; go on with the next knee, or undo the other answer",
            )
        if db.execute("SELECT looked FROM task WHERE id = ?", (task.id,)).fetchone()["looked"] is not None:
            raise RefusedError(
                409, "a change after the model's prediction was shown", "the answer that was given before", "go on"
            )

    @staticmethod
    def _knee_of(db: sqlite3.Connection, number: int) -> int:
        return int(db.execute("SELECT knee FROM task WHERE id = ?", (number,)).fetchone()[0])

    @staticmethod
    def _last(db: sqlite3.Connection, number: int) -> int | None:
        """The last row of a task's history, which may be one that took an answer back."""
        return db.execute("SELECT max(id) FROM answer WHERE task = ?", (number,)).fetchone()[0]  # type: ignore[no-any-return]
