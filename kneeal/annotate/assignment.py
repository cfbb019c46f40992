"""Who reads which knee next: inside a transaction of the store."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

#: A reading that was begun this long ago and never answered may be given to another reader.
ABANDONED = 1800.0
#: Answers between a first reading and its silent repeat, where the query is long enough.
REPEAT_AFTER = 20


@dataclass(frozen=True)
class ReadingPlan:
    """How knees are given out.

    Attributes:
        reads: Readers that each knee needs.
        repeat: Share of the knees that a reader is silently given twice, in [0, 1].
        clock: Seconds since 1970.
    """

    reads: int
    repeat: float
    clock: Callable[[], float]


def claim(db: sqlite3.Connection, reader: int, plan: ReadingPlan) -> int | None:
    """The task that a reader shall do now, inside a transaction: the one she has before her, else the next one.

    Args:
        db: The connection that writes.
        reader: Who.
        plan: How knees are given out.

    Returns:
        Number of the task, None where nothing is left for her.
    """
    now = plan.clock()
    done = db.execute("SELECT count(*) FROM task WHERE reader = ? AND current IS NOT NULL", (reader,)).fetchone()[0]
    mine = (
        "SELECT task.id FROM task JOIN knee ON knee.id = task.knee WHERE task.reader = :reader "
        "AND task.current IS NULL AND knee.state IN ('open', 'disagreed') AND (task.kind != 'first' OR "
        "(SELECT count(*) FROM task AS other WHERE other.knee = knee.id AND other.kind = 'first' "
        "AND other.current IS NOT NULL) < :reads) AND (task.kind != 'adjudication' OR knee.state = 'disagreed') "
    )
    values = {"reader": reader, "reads": plan.reads, "done": done, "stale": now - ABANDONED}
    begun = db.execute(mine + "AND task.not_before <= :done ORDER BY task.begun DESC LIMIT 1", values).fetchone()
    if begun is not None:
        return int(begun["id"])
    unread = (
        "SELECT knee.id FROM knee WHERE state = 'open' AND NOT EXISTS "
        "(SELECT 1 FROM task WHERE task.knee = knee.id AND task.reader = :reader AND task.kind = 'first') "
    )
    knee = db.execute(unread + "AND taken < :reads ORDER BY query, position LIMIT 1", values).fetchone()
    if knee is not None:
        return begin(db, reader, knee["id"], "first", plan)
    waiting = db.execute(mine + "ORDER BY task.not_before LIMIT 1", values).fetchone()
    if waiting is not None:
        return int(waiting["id"])
    abandoned = db.execute(
        unread + "AND EXISTS (SELECT 1 FROM task WHERE task.knee = knee.id AND task.kind = 'first' "
        "AND task.current IS NULL AND task.begun < :stale) ORDER BY query, position LIMIT 1",
        values,
    ).fetchone()
    if abandoned is not None:
        return begin(db, reader, abandoned["id"], "first", plan)
    if db.execute("SELECT adjudicates FROM reader WHERE id = ?", (reader,)).fetchone()[0]:
        disputed = db.execute(
            "SELECT id FROM knee WHERE state = 'disagreed' AND NOT EXISTS "
            "(SELECT 1 FROM task WHERE task.knee = knee.id AND kind = 'adjudication' AND begun >= :stale) "
            "ORDER BY query, position LIMIT 1",
            values,
        ).fetchone()
        if disputed is not None:
            return begin(db, reader, disputed["id"], "adjudication", plan)
    return None


def begin(db: sqlite3.Connection, reader: int, knee: int, kind: str, plan: ReadingPlan, not_before: int = 0) -> int:
    """Put a knee before a reader.

    Args:
        db: The connection that writes.
        reader: Who.
        knee: Number of the knee.
        kind: See `Task`.
        plan: How knees are given out.
        not_before: Answers of the reader before it is due.

    Returns:
        Number of the new task.
    """
    cursor = db.execute(
        "INSERT INTO task (knee, reader, kind, begun, not_before) VALUES (?, ?, ?, ?, ?)",
        (knee, reader, kind, plan.clock(), not_before),
    )
    if kind == "first":
        db.execute("UPDATE knee SET taken = taken + 1 WHERE id = ?", (knee,))
    return int(cursor.lastrowid or 0)


def plan_repeat(db: sqlite3.Connection, reader: int, knee: int, knee_id: str, plan: ReadingPlan) -> None:
    """Decide by the knee and the reader alone whether she gets it twice.

    Args:
        db: The connection that writes.
        reader: Who.
        knee: Number of the knee.
        knee_id: Its name.
        plan: How knees are given out.
    """
    draw = hashlib.sha256(f"repeat {reader} {knee_id}".encode()).digest()
    if int.from_bytes(draw[:4]) / 2**32 >= plan.repeat:
        return
    done = db.execute("SELECT count(*) FROM task WHERE reader = ? AND current IS NOT NULL", (reader,)).fetchone()[0]
    if not db.execute(
        "SELECT 1 FROM task WHERE knee = ? AND reader = ? AND kind = 'repeat'", (knee, reader)
    ).fetchone():
        begin(db, reader, knee, "repeat", plan, done + REPEAT_AFTER + draw[4] % 10)
