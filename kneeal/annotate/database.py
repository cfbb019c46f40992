"""A SQLite file that many threads write to without waiting for one another's commits."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from kneeal.annotate.schema import connect

T = TypeVar("T")


class _Work:
    """A change that waits for its commit."""

    def __init__(self, change: Callable[[sqlite3.Connection], Any]) -> None:
        self.change = change
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = False

    def run(self, db: sqlite3.Connection) -> None:
        db.execute("SAVEPOINT change")
        try:
            self.result = self.change(db)
        except Exception as error:
            if not db.in_transaction:
                raise  # SQLite gave the whole transaction up
            db.execute("ROLLBACK TO change")
            self.error = error
        db.execute("RELEASE change")


class Database:
    """One file, one writing connection, and a reading one for each thread.

    Args:
        path: The file, made where it is not there.
        timeout: Seconds to wait for another program's lock.
    """

    def __init__(self, path: Path, *, timeout: float = 5.0) -> None:
        self.path = path
        self._timeout = timeout
        self._writer = connect(path, create=True, timeout=timeout)
        self._lock = threading.Lock()
        self._queue: deque[_Work] = deque()
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            for connection in (self._writer, *self._readers):
                connection.close()

    def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Make a change: on disk when this returns, not made at all if it raises.

        A commit waits for the disk. What other threads ask for meanwhile goes into the next one together, each
        change in a savepoint of its own, so that twenty readers do not wait for twenty commits.
        """
        work = _Work(change)
        self._queue.append(work)
        with self._lock:
            if not work.done:
                self._commit([self._queue.popleft() for _ in range(len(self._queue))])
        if work.error is not None:
            raise work.error
        return work.result  # type: ignore[no-any-return]

    def _commit(self, batch: list[_Work]) -> None:
        db = self._writer
        try:
            db.execute("BEGIN IMMEDIATE")
            for work in batch:
                work.run(db)
            db.execute("COMMIT")
        except BaseException as error:
            # A full disk makes SQLite take back the whole transaction by itself. Every page gets the error and
            # asks again, with the nonce that keeps an answer from counting twice.
            if db.in_transaction:
                db.execute("ROLLBACK")
            for work in batch:
                work.result, work.error = None, error
        finally:
            for work in batch:
                work.done = True

    def read(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[sqlite3.Row]:
        """Rows of a query, without waiting for a writer."""
        return self.reader().execute(query, values).fetchall()

    def reader(self) -> sqlite3.Connection:
        """The calling thread's own connection, for reading."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = connect(self.path, create=False, timeout=self._timeout)
            self._local.connection = connection
            self._readers.append(connection)
        return connection
