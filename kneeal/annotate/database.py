"""A SQLite file that many write to without waiting for one another's commits."""

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from kneeal.annotate.schema import connect

T = TypeVar("T")
P = ParamSpec("P")
#: What is done inside a transaction; its result is given to who asked for it.
Change = Callable[[sqlite3.Connection], T]


class _Writer(Protocol):
    def write(self, change: Change[T]) -> T: ...


D = TypeVar("D", bound=_Writer)


class Database:
    """One file, one thread that writes, and a connection that threads read by in turn; `timeout` as in `connect`."""

    def __init__(self, path: Path, *, timeout: float = 5.0) -> None:
        self.path = path
        self._writer = connect(path, create=True, timeout=timeout)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._waiting: deque[tuple[Change[Any], Future[Any]]] = deque()
        self._reader = connect(path, create=False, timeout=timeout)
        self._reading = threading.Lock()

    def close(self) -> None:
        """Close the file."""
        self._thread.shutdown()
        self._reader.close()
        # The last connection that closes takes the write-ahead log into the file and removes it.
        self._writer.close()

    def write(self, change: Change[T]) -> T:
        """Make a change: on disk when this returns, not made at all if it raises."""
        return self._submit(change).result()

    async def write_soon(self, change: Change[T]) -> T:
        """`write` for an event loop, which runs on meanwhile; the change is made even if nobody waits for it."""
        return await asyncio.wrap_future(self._submit(change))

    def try_out(self, change: Change[T]) -> T:
        """The result of a change that is not made."""

        def attempt(db: sqlite3.Connection) -> T:
            db.execute("SAVEPOINT attempt")
            try:
                return change(db)
            finally:
                db.execute("ROLLBACK TO attempt")

        return self.write(attempt)

    def read(self, query: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[sqlite3.Row]:
        """Rows of a query, without waiting for a writer."""
        return self.look(lambda db: db.execute(query, values).fetchall())

    def look(self, view: Change[T]) -> T:
        """What a function reads, without waiting for a writer."""
        # One at a time: a query that is under way in another thread would hide what has been committed since it began.
        with self._reading:
            return view(self._reader)

    def _submit(self, change: Change[T]) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # it cannot be cancelled from here on
        self._waiting.append((change, future))
        self._thread.submit(self._commit_waiting)
        return future

    def _commit_waiting(self) -> None:
        """Make the changes that have been asked for since the last commit in one, each in a savepoint of its own.

        A commit waits for the disk: twenty readers do not wait for twenty of them. A change that fails leaves the
        others; where the commit fails, none is made and all get its exception.
        """
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not batch:
            return
        db = self._writer
        try:
            db.execute("BEGIN IMMEDIATE")
            results = [_in_savepoint(db, change) for change, _ in batch]
            db.execute("COMMIT")
        except BaseException as error:
            # A full disk makes SQLite take back the whole transaction by itself. Every page gets the error and
            # asks again, with the nonce that keeps an answer from counting twice.
            if db.in_transaction:
                db.execute("ROLLBACK")
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)


def transaction(method: Callable[Concatenate[D, sqlite3.Connection, P], T]) -> Callable[Concatenate[D, P], T]:
    """A method as a change of the database that its object writes to: see `Database.write`."""

    @wraps(method)
    def run(self: D, /, *given: P.args, **more: P.kwargs) -> T:
        return self.write(lambda db: method(self, db, *given, **more))

    return run


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
