"""How far a reader is. Asked after every answer: each question is answered from an index, or from the newest query."""

from __future__ import annotations

import sqlite3

from kneeal.annotate.assignment import ReadingPlan
from kneeal.annotate.tasks import Progress

#: Answers whose median is the pace.
LAST = 20
_LEFT = """
SELECT
  -- begun, or a repeat that is still to come
  (SELECT count(*) FROM task JOIN knee ON knee.id = task.knee
   WHERE task.reader = :reader AND task.current IS NULL AND knee.state IN ('open', 'disagreed'))
  -- free for anybody
  + (SELECT count(*) FROM knee WHERE state = 'open' AND taken < :reads)
  -- of these, hers already: begun by somebody, wanted by somebody else
  - (SELECT count(*) FROM knee WHERE state = 'open' AND taken > 0 AND taken < :reads AND EXISTS
     (SELECT 1 FROM task WHERE task.knee = knee.id AND task.reader = :reader AND task.kind = 'first'))
  + (SELECT count(*) FROM knee WHERE state = 'disagreed'
     AND (SELECT adjudicates FROM reader WHERE id = :reader) AND NOT EXISTS
     (SELECT 1 FROM task WHERE task.knee = knee.id AND kind = 'adjudication'))
"""
_DONE = """
SELECT count(*) FROM knee JOIN task ON task.knee = knee.id
WHERE knee.query = (SELECT max(query) FROM knee) AND task.reader = :reader AND task.current IS NOT NULL
"""
_TIMES = """
SELECT answer.seconds FROM task JOIN answer ON answer.id = task.current
WHERE task.reader = :reader AND task.current IS NOT NULL ORDER BY task.current DESC LIMIT :last
"""


def progress(db: sqlite3.Connection, reader: int, plan: ReadingPlan) -> Progress:
    """Where a reader is.

    Args:
        db: A connection.
        reader: Who.
        plan: How knees are given out.
    """
    values = {"reader": reader, "reads": plan.reads, "last": LAST}
    left = db.execute(_LEFT, values).fetchone()[0]
    done = db.execute(_DONE, values).fetchone()[0]
    times = sorted(row[0] for row in db.execute(_TIMES, values))
    return Progress(done, left, times[len(times) // 2] if times else None)
