"""Who reads which knee next, how much is left for her, and what the readings of a knee amount to.

Nothing that a reader is given depends on what another has answered, and a silent repeat cannot be told from a first
reading: it is planned before the reader begins, so that her counter includes it, and mixed with knees she has not seen.
All of it happens inside a transaction of the store. Times are in seconds since 1970.
"""

import random
import secrets
import sqlite3
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from kneeal.annotate.consensus import reach_consensus
from kneeal.annotate.tasks import Progress
from kneeal.errors import UserError

#: A reading that was begun this many seconds ago and never answered may be given to another reader.
ABANDONED = 1800.0
#: Answers between a first reading and its silent repeat, where the query is long enough.
REPEAT_AFTER = 20
#: The last knees of a reader that are never repeated.
_REMEMBERED = 2
#: Answers whose median time is the pace.
_LAST = 20

#: A task that is open, still needed and of a role that its reader has. Of a knee that others have read meanwhile, no
#: further first reading is needed.
_NEEDED = """
task.current IS NULL AND knee.state = CASE task.kind WHEN 'adjudication' THEN 'disagreed' ELSE 'open' END
AND (SELECT CASE task.kind WHEN 'adjudication' THEN adjudicates ELSE reads END FROM reader WHERE id = task.reader)
AND (task.kind != 'first' OR (SELECT count(*) FROM task AS other WHERE other.knee = knee.id
  AND other.kind = 'first' AND other.current IS NOT NULL) < :reads)
"""
#: A knee of which the reader has begun no first reading.
_UNREAD = """
knee.state = 'open' AND NOT EXISTS
(SELECT 1 FROM task WHERE task.knee = knee.id AND task.reader = :reader AND task.kind = 'first')
"""
#: A silent repeat that the reader has not begun, of a knee that she has read or can still read.
_UNREPEATED = f"""
planned.reader = :reader AND knee.state = 'open' AND NOT EXISTS
(SELECT 1 FROM task WHERE task.knee = knee.id AND task.reader = :reader AND task.kind = 'repeat')
AND (planned.due IS NOT NULL OR knee.taken < :reads OR EXISTS
(SELECT 1 FROM task WHERE task.knee = knee.id AND task.reader = :reader AND {_NEEDED}))
"""
#: Whether a reader may be given adjudications: one who also reads, only when all readings of the query are in.
_RELEASED = """
(SELECT adjudicates AND NOT (reads AND EXISTS
  (SELECT 1 FROM knee WHERE state = 'open' AND query = (SELECT max(query) FROM knee)))
 FROM reader WHERE id = :reader)
"""
#: Her open tasks, knees free for anybody, silent repeats (which she must not notice) and knees for her to adjudicate.
_LEFT = f"""
SELECT
  (SELECT count(*) FROM task JOIN knee ON knee.id = task.knee WHERE task.reader = :reader AND {_NEEDED})
  + (SELECT reads FROM reader WHERE id = :reader) * (
    (SELECT count(*) FROM knee WHERE {_UNREAD} AND taken < :reads)
    + (SELECT count(*) FROM planned JOIN knee ON knee.id = planned.knee WHERE {_UNREPEATED}))
  + (SELECT count(*) FROM knee WHERE state = 'disagreed' AND {_RELEASED} AND NOT EXISTS
    (SELECT 1 FROM task WHERE task.knee = knee.id AND kind = 'adjudication'))
"""


@dataclass(frozen=True)
class ReadingPlan:
    """How knees are assigned to readers. It belongs to the run."""

    reads: int = 1  #: Readers that each knee needs.
    repeat: float = 0.0  #: Share of the knees that a reader is silently given twice, in [0, 1].

    def changed(self, reads: int | None, repeat: float | None) -> Self:
        """The plan with one or both of them replaced; None keeps what is.

        Raises:
            UserError: A number is out of range.
        """
        plan = type(self)(self.reads if reads is None else reads, self.repeat if repeat is None else repeat)
        if plan.reads < 1:
            raise UserError(f"--reads {plan.reads}", "1 reader per knee or more", "correct the option")
        if not 0 <= plan.repeat <= 1:
            raise UserError(f"--repeat {plan.repeat}", "a share from 0 to 1", "correct the option")
        return plan


def read_plan(db: sqlite3.Connection) -> ReadingPlan:
    """The plan of the run; the default before one is set."""
    values = dict(db.execute("SELECT name, value FROM setting").fetchall())
    return ReadingPlan(int(values.get("reads", 1)), float(values.get("repeat", 0.0)))


def read_progress(db: sqlite3.Connection, reader: int) -> Progress:
    """How far a reader is. Asked after every answer, so each query uses an index or the newest query alone."""
    left = db.execute(_LEFT, {"reader": reader, "reads": read_plan(db).reads}).fetchone()[0]
    done = db.execute(
        "SELECT count(*) FROM knee JOIN task ON task.knee = knee.id "
        "WHERE knee.query = (SELECT max(query) FROM knee) AND task.reader = ? AND task.current IS NOT NULL",
        (reader,),
    ).fetchone()[0]
    times = db.execute(
        "SELECT answer.seconds FROM task JOIN answer ON answer.id = task.current "
        "WHERE task.reader = ? AND task.current IS NOT NULL ORDER BY task.current DESC LIMIT ?",
        (reader, _LAST),
    ).fetchall()
    return Progress(done, left, statistics.median(row[0] for row in times) if times else None)


def claim(db: sqlite3.Connection, reader: int, now: float) -> int | None:
    """The task that a reader should do now: the one she has before her, else the next one; None if nothing is left."""
    plan = read_plan(db)
    values: dict[str, Any] = {"reader": reader, "reads": plan.reads, "stale": now - ABANDONED}

    def first(query: str) -> Any:
        row = db.execute(query, values).fetchone()
        return None if row is None else row[0]

    values["done"] = first("SELECT count(*) FROM task WHERE reader = :reader AND current IS NOT NULL")
    mine = f"SELECT task.id FROM task JOIN knee ON knee.id = task.knee WHERE task.reader = :reader AND {_NEEDED} "
    task: int | None = first(mine + "AND task.later IS NULL ORDER BY task.begun DESC LIMIT 1")
    if task is not None:
        return task
    reads = first("SELECT reads FROM reader WHERE id = :reader")
    if reads:
        _plan_repeats(db, reader, plan)
        free = f"FROM knee WHERE {_UNREAD} AND taken < :reads"
        waiting = f"FROM planned JOIN knee ON knee.id = planned.knee WHERE {_UNREPEATED}"
        n_free, n_waiting = first(f"SELECT count(*) {free}"), first(f"SELECT count(*) {waiting}")
        repeat = first(f"SELECT knee.id {waiting} AND planned.due <= :done ORDER BY planned.due LIMIT 1")
        # In proportion to what is left of both, so that repeats are spread over the query and do not end it.
        if repeat is not None and random.random() * (n_free + n_waiting) < n_waiting:
            return _begin(db, reader, repeat, "repeat", now)
        knee = first(f"SELECT knee.id {free} ORDER BY query, position LIMIT 1")
        if knee is not None:
            return _begin(db, reader, knee, "first", now)
    task = first(mine + "ORDER BY knee.taken >= :reads, task.later LIMIT 1")
    if task is not None:
        resume(db, task, now)
        return task
    if reads:
        knee = first(
            f"SELECT knee.id FROM knee WHERE {_UNREAD} AND EXISTS (SELECT 1 FROM task WHERE task.knee = knee.id "
            "AND kind = 'first' AND current IS NULL AND later IS NULL AND begun < :stale) "
            "ORDER BY query, position LIMIT 1"
        )
        if knee is not None:
            return _begin(db, reader, knee, "first", now)
        repeat = _last_repeat(db, waiting, values)
        if repeat is not None:
            return _begin(db, reader, repeat, "repeat", now)
    disputed = first(
        f"SELECT id FROM knee WHERE state = 'disagreed' AND {_RELEASED} AND NOT EXISTS (SELECT 1 FROM task "
        "WHERE task.knee = knee.id AND kind = 'adjudication' AND begun >= :stale) ORDER BY query, position LIMIT 1"
    )
    if disputed is None:
        return None
    inform(db, reader)
    return _begin(db, reader, disputed, "adjudication", now)


def _begin(db: sqlite3.Connection, reader: int, knee: int, kind: str, now: float) -> int:
    """Make a task of some kind (see `Task`) and put it before a reader."""
    number = secrets.randbelow(2**48)
    db.execute(
        "INSERT INTO task (id, knee, reader, kind, picture, begun) VALUES (?, ?, ?, ?, ?, ?)",
        (number, knee, reader, kind, secrets.token_hex(8), now),
    )
    _count_taken(db, number, 1)
    return number


def postpone(db: sqlite3.Connection, number: int, now: float) -> None:
    """Put an open task off: its knee can then go to other readers."""
    _count_taken(db, number, -1, "AND current IS NULL AND later IS NULL")
    db.execute("UPDATE task SET later = ? WHERE id = ? AND current IS NULL", (now, number))


def resume(db: sqlite3.Connection, number: int, now: float) -> None:
    """Put a task before its reader again if it was put off."""
    _count_taken(db, number, 1, "AND later IS NOT NULL")
    db.execute("UPDATE task SET later = NULL, begun = ? WHERE id = ? AND later IS NOT NULL", (now, number))


def _count_taken(db: sqlite3.Connection, number: int, change: int, condition: str = "") -> None:
    """Keep the number of readings of a knee that are begun and not put off, where a task is a first reading."""
    task = f"SELECT knee FROM task WHERE id = ? AND kind = 'first' {condition}"
    db.execute(f"UPDATE knee SET taken = taken + ? WHERE id = ({task})", (change, number))


def schedule_repeat(db: sqlite3.Connection, reader: int, knee: int) -> None:
    """After a first reading: set from which answer on its silent repeat is due, if one is planned."""
    db.execute(
        "UPDATE planned SET due = ? + (SELECT count(*) FROM task WHERE reader = ? AND current IS NOT NULL) "
        "WHERE knee = ? AND reader = ?",
        (_spacing(len(_newest(db))), reader, knee, reader),
    )


def inform(db: sqlite3.Connection, reader: int) -> None:
    """Note that a reader is shown readings of others in this query; from then on her own stand."""
    db.execute("UPDATE reader SET informed = (SELECT coalesce(max(query), 0) FROM knee) WHERE id = ?", (reader,))


def settle(db: sqlite3.Connection, knee: int) -> None:
    """Apply the rule of `consensus` to the readings of a knee, unless it has gone to training."""
    rows = db.execute(
        "SELECT task.kind, task.reader, answer.kl FROM task JOIN answer ON answer.id = task.current WHERE knee = ?",
        (knee,),
    ).fetchall()
    pending = db.execute(
        "SELECT 1 FROM planned WHERE knee = ? AND due IS NOT NULL AND NOT EXISTS (SELECT 1 FROM task WHERE "
        "task.knee = planned.knee AND task.reader = planned.reader AND kind = 'repeat' AND current IS NOT NULL)",
        (knee,),
    ).fetchone()
    consensus = reach_consensus(
        [(row["reader"], row["kl"]) for row in rows if row["kind"] != "adjudication"],
        required=read_plan(db).reads,
        pending=pending is not None,
        adjudicated=[(row["reader"], row["kl"]) for row in rows if row["kind"] == "adjudication"],
    )
    db.execute(
        "UPDATE knee SET state = ?, kl = ?, rule = ? WHERE id = ? AND state != 'closed'",
        (consensus.state, consensus.kl, consensus.rule, knee),
    )


def _newest(db: sqlite3.Connection) -> list[int]:
    """The knees of the newest query, in its order."""
    query = "SELECT id FROM knee WHERE query = (SELECT max(query) FROM knee) ORDER BY position"
    return [row[0] for row in db.execute(query)]


def _spacing(n: int) -> int:
    """Answers between a first reading and its repeat in a query of n knees."""
    return max(_REMEMBERED, min(REPEAT_AFTER, n // 3))


def _plan_repeats(db: sqlite3.Connection, reader: int, plan: ReadingPlan) -> None:
    """Choose which knees of a new query the reader gets twice: none of its last, which would repeat as one block."""
    due = "SELECT 1 FROM reader WHERE id = ? AND planned < (SELECT max(query) FROM knee)"
    if not db.execute(due, (reader,)).fetchone():
        return
    db.execute("UPDATE reader SET planned = (SELECT max(query) FROM knee) WHERE id = ?", (reader,))
    knees = _newest(db)
    known = "SELECT knee FROM task WHERE reader = ? UNION SELECT knee FROM planned WHERE reader = ?"
    begun = {row[0] for row in db.execute(known, (reader, reader))}
    early = [knee for knee in knees[: len(knees) - _spacing(len(knees))] if knee not in begun]
    n_repeats = int(plan.repeat * len(knees) + random.random() * (plan.repeat > 0))  # right on average, if few
    chosen = random.sample(early, min(n_repeats, len(early)))
    db.executemany("INSERT INTO planned (knee, reader) VALUES (?, ?)", [(knee, reader) for knee in chosen])


def _last_repeat(db: sqlite3.Connection, waiting: str, values: Mapping[str, Any]) -> int | None:
    """A repeat before it is due, when nothing else is left; that of a knee just read is dropped."""
    last = "SELECT knee FROM task WHERE reader = ? AND current IS NOT NULL ORDER BY current DESC LIMIT ?"
    fresh = {row[0] for row in db.execute(last, (values["reader"], _REMEMBERED))}
    query = f"SELECT knee.id {waiting} AND planned.due IS NOT NULL ORDER BY planned.due"
    for (knee,) in db.execute(query, values).fetchall():
        if knee not in fresh:
            return int(knee)
        db.execute("DELETE FROM planned WHERE knee = ? AND reader = ?", (knee, values["reader"]))
        settle(db, knee)
    return None
