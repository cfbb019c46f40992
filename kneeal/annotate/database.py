"""A SQLite file that many write to without waiting for one another's commits."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from kneeal.annotate.schema import connect

T = TypeVar("T")
#: What is done inside a transaction; its result is given to who asked for it.
Change = Callable[[sqlite3.Connection], T]


class Database:
    """One file, one writing connection, and a reading one for each thread; `timeout` as in `connect`."""

    def __init__(self, path: Path, *, timeout: float = 5.0) -> None:
        self.path = path
        self._timeout = timeout
        self._writer = connect(path, create=True, timeout=timeout)
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._waiting: list[tuple[Change[Any], asyncio.Future[Any]]] = []
        self._busy = False
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []

    def close(self) -> None:
        """Close the file."""
        self._thread.shutdown()
        with self._lock:
            for connection in self._readers:
                connection.close()
            # The last connection that closes takes the write-ahead log into the file and removes it.
            self._writer.close()

    def write(self, change: Change[T]) -> T:
        """Make a change: on disk when this returns, not made at all if it raises."""
        result = self.write_all([change])[0]
        if isinstance(result, BaseException):
            raise result
        return result  # type: ignore[no-any-return]

    def try_out(self, change: Change[T]) -> T:
        """The result of a change that is not made."""
        with self._lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                return change(self._writer)
            finally:
                self._writer.execute("ROLLBACK")

    def write_all(self, changes: Sequence[Change[Any]]) -> list[Any]:
        """Make changes in one commit, each in a savepoint of its own, so that one that fails leaves the others.

        Returns:
            For each change its result, on disk; or the exception that it raised, and nothing of it is made. Where the
            commit fails, all get that exception and nothing is made.
        """
        db = self._writer
        with self._lock:
            try:
                db.execute("BEGIN IMMEDIATE")
                results = [_in_savepoint(db, change) for change in changes]
                db.execute("COMMIT")
            except BaseException as error:
                # A full disk makes SQLite take back the whole transaction by itself. Every page gets the error and
                # asks again, with the nonce that keeps an answer from counting twice.
                if db.in_transaction:
                    db.execute("ROLLBACK")
                return [error] * len(changes)
        return results

    async def write_soon(self, change: Change[T]) -> T:
        """`write` for an event loop, which goes on meanwhile.

        A commit waits for the disk. What is asked for during one goes into the next one together, in one thread, so
        that twenty readers wait neither for twenty commits nor for twenty threads.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append((change, future))
        if not self._busy:
            self._next_batch(loop)
        return await future

    def _next_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._waiting = self._waiting, []
        self._busy = bool(batch)
        if not batch:
            return

        def work() -> None:
            results = self.write_all([change for change, _ in batch])
            loop.call_soon_threadsafe(deliver, results)

        def deliver(results: Sequence[Any]) -> None:
            for (_, future), result in zip(batch, results, strict=True):
                if future.cancelled():
                    continue  # who asked has gone; the change is made all the same
                if isinstance(result, BaseException):
                    future.set_exception(result)
                else:
                    future.set_result(result)
            self._next_batch(loop)

        self._thread.submit(work)

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


def _in_savepoint(db: sqlite3.Connection, change: Change[Any]) -> Any:
    """The result of a change, or the exception that it raised, taken back."""
    db.execute("SAVEPOINT change")
    try:
        result = change(db)
    except Exception as error:
        if not db.in_transaction:
            raise  # SQLite gave the whole transaction up
        db.execute("ROLLBACK TO change")
        result = error
    db.execute("RELEASE change")
    return result
