"""What readers do in a store: look at a knee, answer, undo, put off.

Tasks and readers are named by their numbers; times are in seconds since 1970.
"""

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from kneeal.annotate.assignment import claim, postpone, read_plan, read_progress, resume, schedule_repeat, settle
from kneeal.annotate.database import Change, Database, transaction
from kneeal.annotate.request_models import Answer
from kneeal.annotate.tasks import Progress, RefusedError, Task

_BEGUN = (409, "training has begun, and this knee is closed", "an answer to an open knee", "grade the next knee")


class Readings(Database):
    """The readings in one file; safe for many threads, and for several processes."""

    def __init__(self, path: Path, *, timeout: float = 5.0, clock: Callable[[], float] = time.time) -> None:
        super().__init__(path, timeout=timeout)
        self.clock = clock

    def task(self, reader: int, number: int) -> Task:
        """A task of a reader.

        Raises:
            RefusedError: It does not exist, or is not hers.
        """
        return self.look(lambda db: _read_task(db, reader, number))

    def progress(self, reader: int) -> Progress:
        """How far a reader is."""
        return self.look(lambda db: read_progress(db, reader))

    @transaction
    def next(self, db: sqlite3.Connection, reader: int) -> Task | None:
        """The knee that a reader should read now, None where nothing is left for her; see `claim`."""
        return self._next(db, reader)

    def answering(self, reader: int, answer: Answer) -> Change[tuple[Task | None, Progress]]:
        """The change that takes an answer, to be made by `write` or `write_soon`: on disk when that returns.

        It gives the reader's next task and how far she is.

        Raises:
            RefusedError: When it is made: the task is not hers or already answered, its knee went to training, another
                picture was drawn, or the nonce was used for another answer.
        """
        return lambda db: self._answer(db, reader, answer)

    @transaction
    def undo(self, db: sqlite3.Connection, reader: int, *, nonce: str) -> Task | None:
        """Take back a reader's last answer, and put its knee before her again.

        Raises:
            RefusedError: There is nothing to take back, or the last answer is final.
        """
        if db.execute("SELECT 1 FROM answer WHERE nonce = ?", (nonce,)).fetchone():
            return self._next(db, reader)
        now = self.clock()
        row = db.execute("SELECT id FROM task WHERE reader = ? ORDER BY current DESC LIMIT 1", (reader,)).fetchone()
        task = None if row is None else _read_task(db, reader, row["id"])
        if task is None or task.current is None:
            raise RefusedError(409, "nothing to undo", "an answer of yours", "grade a knee first")
        _refuse_if_final(task)
        # A training that began since then ends undo for all knees, in the same words: also for one that it did not
        # take, since its readers differ.
        begun = "SELECT 1 FROM knee, answer WHERE answer.id = ? AND knee.rule != 'file' AND knee.closed >= answer.at"
        if db.execute(begun, (task.current,)).fetchone():
            raise RefusedError(*_BEGUN)
        if task.kind != "adjudication":
            informed = "SELECT 1 FROM reader WHERE id = ? AND informed = (SELECT max(query) FROM knee)"
            if db.execute(informed, (reader,)).fetchone():
                raise RefusedError(409, "an undo after you saw those of others", "an adjudication of yours", "continue")
        db.execute(
            "INSERT INTO answer (task, undone, seconds, at, replaces, nonce) VALUES (?, 1, 0, ?, ?, ?)",
            (task.id, now, task.current, nonce),
        )
        db.execute("UPDATE task SET current = NULL, begun = ? WHERE id = ?", (now, task.id))
        if task.kind == "first":
            db.execute("UPDATE planned SET due = NULL WHERE knee = ? AND reader = ?", (task.knee, reader))
            db.execute(
                "DELETE FROM task WHERE knee = ? AND reader = ? AND kind = 'repeat' AND current IS NULL "
                "AND NOT EXISTS (SELECT 1 FROM answer WHERE answer.task = task.id)",
                (task.knee, reader),
            )
        settle(db, task.knee)
        return _read_task(db, reader, task.id)

    @transaction
    def put_off(self, db: sqlite3.Connection, reader: int, number: int) -> Task | None:
        """Put a knee off until its reader has read the others, unless somebody else has by then, and give her the next.

        Raises:
            RefusedError: It is not hers.
        """
        postpone(db, _read_task(db, reader, number).id, self.clock())
        return self._next(db, reader)

    @transaction
    def mark_prediction_seen(self, db: sqlite3.Connection, reader: int, number: int) -> None:
        """Note that a reader is about to see the model's prediction for a knee; her answer to it then stands.

        Raises:
            RefusedError: She has not answered it yet; or knees are silently repeated in this run: a prediction that is
                shown would bias the repeat, and one that is refused would give it away.
        """
        task = _read_task(db, reader, number)
        if read_plan(db).repeat:
            raise RefusedError(409, "predictions are not shown in this run", "a run without silent repeats", "continue")
        if task.current is None:
            raise RefusedError(409, "a prediction before your answer", "your answer to that knee first", "grade it")
        db.execute("UPDATE task SET looked = coalesce(looked, ?) WHERE id = ?", (self.clock(), task.id))

    def _next(self, db: sqlite3.Connection, reader: int) -> Task | None:
        number = claim(db, reader, self.clock())
        return None if number is None else _read_task(db, reader, number)

    def _answer(self, db: sqlite3.Connection, reader: int, answer: Answer) -> tuple[Task | None, Progress]:
        earlier = db.execute("SELECT task, kl, reason FROM answer WHERE nonce = ?", (answer.nonce,)).fetchone()
        if earlier is not None:
            if tuple(earlier) != (answer.task, answer.kl, answer.reason):
                raise RefusedError(409, "one request with two answers", "a new nonce for each", "reload the page")
            return self._next(db, reader), read_progress(db, reader)
        task = _read_task(db, reader, answer.task)
        if answer.picture != task.picture:
            raise RefusedError(
                409,
                "the picture on the page is of another knee",
                "an answer to the knee that is shown",
                "nothing was changed; look at this knee again",
            )
        if task.current is not None:
            raise RefusedError(
                409,
                "this knee was answered in another window",
                "a page that shows what is stored",
                "nothing was changed; grade the next knee, or undo the other answer",
            )
        _refuse_if_final(task)
        now = self.clock()
        cursor = db.execute(
            "INSERT INTO answer (task, kl, reason, seconds, at, replaces, nonce, measurements, findings, comment) "
            "VALUES (?, ?, ?, ?, ?, (SELECT max(id) FROM answer WHERE task = ?), ?, ?, ?, ?)",
            (
                task.id, answer.kl, answer.reason, answer.seconds, now, task.id, answer.nonce,
                json.dumps([m.model_dump() for m in answer.measurements]), json.dumps(answer.findings), answer.comment,
            ),
        )  # fmt: skip
        resume(db, task.id, now)
        db.execute("UPDATE task SET current = ? WHERE id = ?", (cursor.lastrowid, task.id))
        if task.kind == "first":
            schedule_repeat(db, reader, task.knee)
        settle(db, task.knee)
        return self._next(db, reader), read_progress(db, reader)


def _read_task(db: sqlite3.Connection, reader: int, number: int) -> Task:
    row = db.execute(
        "SELECT task.id, knee_id, kind, picture, current, looked, task.knee, state FROM task "
        "JOIN knee ON knee.id = task.knee WHERE task.id = ? AND task.reader = ?",
        (number, reader),
    ).fetchone()
    if row is None:
        raise RefusedError(404, "this knee is not yours to grade now", "one of your knees", "reload the page")
    grades: tuple[int | None, ...] = ()
    if row["kind"] == "adjudication":
        answers = db.execute(
            "SELECT answer.kl FROM task JOIN answer ON answer.id = task.current "
            "WHERE task.knee = ? AND task.kind != 'adjudication'",
            (row["knee"],),
        )
        # Sorted, so that the order does not reveal who gave which.
        grades = tuple(sorted((a["kl"] for a in answers), key=lambda kl: -1 if kl is None else kl))
    return Task(**dict(row), grades=grades)


def _refuse_if_final(task: Task) -> None:
    """Refuse a change of what went to training, or after a prediction was shown."""
    if task.state == "closed":
        raise RefusedError(*_BEGUN)
    if task.looked is not None:
        raise RefusedError(
            409, "a change after the model's prediction was shown", "the answer that was given before", "continue"
        )
