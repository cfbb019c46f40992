"""What becomes of an answer: taken, taken back, or refused. Inside a transaction of the store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kneeal.annotate.assignment import ReadingPlan, claim, plan_repeat
from kneeal.annotate.consensus import Reading, reach_consensus
from kneeal.annotate.tasks import RefusedError, Task


@dataclass(frozen=True)
class Answer:
    """What a page sends.

    Attributes:
        task: Number of the task.
        nonce: Name of this request; the same request sent again changes nothing.
        seen: The answer that the page believes to hold, None for none.
        kl: The grade.
        reason: Why there is none, instead.
        seconds: For how long the knee was before the reader.
        measurements: What she measured.
    """

    task: int
    nonce: str
    seen: int | None
    kl: int | None = None
    reason: str | None = None
    seconds: float = 0.0
    measurements: Sequence[Mapping[str, Any]] = ()


def read_task(db: sqlite3.Connection, reader: int, number: int) -> Task:
    """A task of a reader.

    Args:
        db: A connection.
        reader: Who.
        number: Of the task.

    Raises:
        RefusedError: It is not hers, or there is none.
    """
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


def next_task(db: sqlite3.Connection, reader: int, plan: ReadingPlan) -> Task | None:
    """The knee that a reader shall read now, None where nothing is left for her; see `claim`."""
    number = claim(db, reader, plan)
    return None if number is None else read_task(db, reader, number)


def record_answer(db: sqlite3.Connection, reader: int, answer: Answer, plan: ReadingPlan, now: float) -> None:
    """Store an answer, and what follows from it for its knee.

    Args:
        db: The connection that writes.
        reader: Who.
        answer: What she says.
        plan: How knees are given out.
        now: Seconds since 1970.

    Raises:
        RefusedError: The task is not hers, its round is closed, the page is stale, or the nonce was used otherwise.
    """
    earlier = db.execute("SELECT task, kl, reason FROM answer WHERE nonce = ?", (answer.nonce,)).fetchone()
    if earlier is not None:
        if tuple(earlier) != (answer.task, answer.kl, answer.reason):
            raise RefusedError(409, "one request with two answers", "a new nonce an answer", "load the page again")
        return
    task = read_task(db, reader, answer.task)
    _refuse(db, task, answer.seen)
    cursor = db.execute(
        "INSERT INTO answer (task, kl, reason, seconds, at, replaces, nonce, measurements) "
        "VALUES (?, ?, ?, ?, ?, (SELECT max(id) FROM answer WHERE task = ?), ?, ?)",
        (
            task.id,
            answer.kl,
            answer.reason,
            answer.seconds,
            now,
            task.id,
            answer.nonce,
            json.dumps(answer.measurements),
        ),
    )  # fmt: skip
    db.execute("UPDATE task SET current = ? WHERE id = ?", (cursor.lastrowid, task.id))
    knee = knee_of(db, task.id)
    if task.kind == "first":
        plan_repeat(db, reader, knee, task.knee_id, plan)
    _judge(db, knee, plan)


def undo_answer(db: sqlite3.Connection, reader: int, nonce: str, plan: ReadingPlan, now: float) -> Task | None:
    """Take back a reader's last answer.

    Args:
        db: The connection that writes.
        reader: Who.
        nonce: Name of this request.
        plan: How knees are given out.
        now: Seconds since 1970.

    Returns:
        The task that is before her again.

    Raises:
        RefusedError: There is nothing to take back, or the last answer stands for good.
    """
    if db.execute("SELECT 1 FROM answer WHERE nonce = ?", (nonce,)).fetchone():
        return next_task(db, reader, plan)
    row = db.execute("SELECT id FROM task WHERE reader = ? ORDER BY current DESC LIMIT 1", (reader,)).fetchone()
    task = None if row is None else read_task(db, reader, row["id"])
    if task is None or task.current is None:
        raise RefusedError(409, "nothing to undo", "an answer of yours", "grade a knee first")
    _refuse(db, task, task.current)
    knee = knee_of(db, task.id)
    adjudicated = "SELECT 1 FROM task WHERE knee = ? AND kind = 'adjudication' AND current IS NOT NULL"
    if task.kind != "adjudication" and db.execute(adjudicated, (knee,)).fetchone():
        raise RefusedError(
            409, "an answer to a knee that was adjudicated", "one that is still open", "ask the adjudicator"
        )
    db.execute(
        "INSERT INTO answer (task, undone, seconds, at, replaces, nonce) VALUES (?, 1, 0, ?, ?, ?)",
        (task.id, now, task.current, nonce),
    )
    db.execute("UPDATE task SET current = NULL, begun = ? WHERE id = ?", (now, task.id))
    if task.kind == "first":
        db.execute(
            "DELETE FROM task WHERE knee = ? AND reader = ? AND kind = 'repeat' AND current IS NULL "
            "AND NOT EXISTS (SELECT 1 FROM answer WHERE answer.task = task.id)",
            (knee, reader),
        )
    _judge(db, knee, plan)
    return read_task(db, reader, task.id)


def mark_prediction_seen(db: sqlite3.Connection, reader: int, number: int, now: float) -> Task:
    """Note that a reader is about to see the model's prediction for a knee she has answered.

    Args:
        db: The connection that writes.
        reader: Who.
        number: Of the task.
        now: Seconds since 1970.

    Raises:
        RefusedError: She has not answered it yet, or is to read it again.
    """
    task = read_task(db, reader, number)
    unread = "SELECT 1 FROM task WHERE knee = ? AND reader = ? AND current IS NULL"
    if db.execute(unread, (knee_of(db, number), reader)).fetchone():
        raise RefusedError(
            409, "the model's prediction before the reading is done", "all your readings of that knee", "later"
        )
    db.execute("UPDATE task SET looked = coalesce(looked, ?) WHERE id = ?", (now, number))
    return task


def knee_of(db: sqlite3.Connection, number: int) -> int:
    """Number of the knee of a task."""
    return int(db.execute("SELECT knee FROM task WHERE id = ?", (number,)).fetchone()[0])


def _judge(db: sqlite3.Connection, knee: int, plan: ReadingPlan) -> None:
    rows = db.execute(
        "SELECT task.kind, task.reader, answer.kl, task.current FROM task "
        "LEFT JOIN answer ON answer.id = task.current WHERE task.knee = ?",
        (knee,),
    ).fetchall()
    given = [row for row in rows if row["current"] is not None]
    consensus = reach_consensus(
        [Reading(row["reader"], row["kl"]) for row in given if row["kind"] != "adjudication"],
        required=plan.reads,
        pending=any(row["kind"] == "repeat" and row["current"] is None for row in rows),
        adjudicated=[Reading(row["reader"], row["kl"]) for row in given if row["kind"] == "adjudication"],
    )
    db.execute(
        "UPDATE knee SET state = ?, kl = ?, rule = ? WHERE id = ? AND state != 'closed'",
        (consensus.state, consensus.kl, consensus.rule, knee),
    )


def _refuse(db: sqlite3.Connection, task: Task, seen: int | None) -> None:
    """Refuse a change of what is settled for good, or by a page that does not know what is stored."""
    state, looked = db.execute(
        "SELECT knee.state, task.looked FROM task JOIN knee ON knee.id = task.knee WHERE task.id = ?", (task.id,)
    ).fetchone()
    if state == "closed":
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
    if looked is not None:
        raise RefusedError(
            409, "a change after the model's prediction was shown", "the answer that was given before", "go on"
        )
