"""How far a reader is. Asked after every answer, so each query uses an index or the newest query alone."""

import sqlite3

from kneeal.annotate.assignment import NEEDED, RELEASED, UNREAD, UNREPEATED, read_plan
from kneeal.annotate.tasks import Progress

#: Answers whose median is the pace.
LAST = 20
# Her open tasks, knees free to anybody, silent repeats (which she must not notice) and knees for her to adjudicate.
_LEFT = f"""
SELECT
  (SELECT count(*) FROM task JOIN knee ON knee.id = task.knee WHERE task.reader = :reader AND {NEEDED})
  + (SELECT reads FROM reader WHERE id = :reader) * (
    (SELECT count(*) FROM knee WHERE {UNREAD} AND taken < :reads)
    + (SELECT count(*) FROM planned JOIN knee ON knee.id = planned.knee WHERE {UNREPEATED}))
  + (SELECT count(*) FROM knee WHERE state = 'disagreed' AND {RELEASED} AND NOT EXISTS
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


def read_progress(db: sqlite3.Connection, reader: int) -> Progress:
    """How far a reader is."""
    values = {"reader": reader, "reads": read_plan(db).reads, "last": LAST}
    left = db.execute(_LEFT, values).fetchone()[0]
    done = db.execute(_DONE, values).fetchone()[0]
    times = sorted(row[0] for row in db.execute(_TIMES, values))
    return Progress(done, left, times[len(times) // 2] if times else None)
