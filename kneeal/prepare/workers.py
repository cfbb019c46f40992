"""Processes that survive their tasks: one that dies or hangs is replaced, and the task that did it is named.

`concurrent.futures` loses the whole pool when one process dies, and cannot say which task was at fault.
"""

import contextlib
import resource
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from kneeal.errors import UserError

T = TypeVar("T")
R = TypeVar("R")

#: More address space than a process has after its start; a decoder that wants more gets none.
MEMORY_BYTES = 4 << 30
_POLL_S = 0.5


@dataclass(frozen=True)
class Lost:
    """A task without a result."""

    reason: str  #: "crashed" (the process died), "hung" (it took too long), or "failed" (it raised).
    detail: str  #: What is known.


class _Worker:
    """A process, and which task it is at."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        # Not fork: threads of torch and OpenCV do not survive it.
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        self.task: int | None = None
        self.since = 0.0
        self.ready = False
        # A new process imports the main module again; console scripts without a guard would run the command once more.
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        # Ctrl-C is for this process, which ends the others: they inherit the mask, and say nothing of it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        except OSError as error:
            raise _not_started(error.strerror or str(error)) from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            sys.modules["__main__"] = main
        theirs.close()

    def stop(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()
        self.process.close()


class WorkerPool(Generic[T, R]):
    """Processes that work on tasks; started with the first tasks, and kept for further ones.

    `make` is called once in each process and gives the function to call with each task. With 0 `workers`, this process
    works itself, without a time limit.
    """

    def __init__(self, make: Callable[[], Callable[[T], R]], *, workers: int, timeout_s: float) -> None:
        self._make, self._n, self._timeout_s = make, workers, timeout_s
        self._crew: list[_Worker] = []
        self._work: Callable[[T], R] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._crew:
            worker.stop()

    def run(self, tasks: Sequence[T]) -> Iterator[tuple[int, R | Lost]]:
        """Work on tasks; at most one per process is in flight, so a long list needs no memory beyond its own.

        Yields:
            Position of the task and its result, in the order of finishing.
        """
        if self._n == 0:
            for position, task in enumerate(tasks):
                self._work = self._work or self._make()
                yield position, _attempt(self._work, task)
            return
        waiting = iter(range(len(tasks)))
        while len(self._crew) < min(self._n, len(tasks)):
            self._crew.append(_Worker(self._make))
        unfinished = len(tasks)
        while unfinished:
            for worker in self._crew:
                if worker.ready and worker.task is None and (following := next(waiting, None)) is not None:
                    worker.task, worker.since = following, time.monotonic()
                    # One that died while it was idle is noticed when its result is collected.
                    with contextlib.suppress(OSError):
                        worker.pipe.send(tasks[following])
            readable = connection.wait([worker.pipe for worker in self._crew], timeout=_POLL_S)
            for place, worker in enumerate(self._crew):
                result = self._receive(worker, worker.pipe in readable)
                done = worker.task
                if result is not None:
                    worker.task = None
                if isinstance(result, Lost) and result.reason != "failed":
                    self._crew[place] = _Worker(self._make)
                    worker.stop()
                if result is not None and done is not None:
                    unfinished -= 1
                    yield done, result

    def _receive(self, worker: _Worker, readable: bool) -> R | Lost | None:
        """The result of a worker, or that it is lost; None as long as there is neither."""
        if readable:
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                if not worker.ready:
                    raise _not_started("it ended before its first radiograph") from None
                return Lost("crashed", "the process that read it died")
            if worker.ready:
                result: R | Lost = message
                return result
            if isinstance(message, BaseException):
                raise message
            worker.ready = True
        elif worker.task is not None and time.monotonic() - worker.since > self._timeout_s:
            return Lost("hung", f"it took longer than {self._timeout_s:g} s")
        return None


def _not_started(why: str) -> UserError:
    return UserError(
        f"a worker process did not start: {why}",
        f"room for further processes of {sys.executable} and leave to start them",
        "give --workers 0, which needs none, or fewer --workers",
    )


def _serve(pipe: connection.Connection, make: Callable[[], Callable[[Any], Any]]) -> None:
    try:
        work = make()
    except Exception as error:  # raised again by the process that collects it
        pipe.send(error)
        return
    with contextlib.suppress(OSError, ValueError):  # /proc is Linux's
        now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_BYTES, hard))
    # The parent is gone when nothing can be read or written any more.
    with contextlib.suppress(EOFError, OSError):
        pipe.send(None)
        while True:
            pipe.send(_attempt(work, pipe.recv()))


def _attempt(work: Callable[[Any], Any], task: Any) -> Any:
    try:
        return work(task)
    except MemoryError:
        return Lost("failed", "not enough memory")
    except Exception as error:
        # The text of an error may hold what the file holds; its type does not.
        return Lost("failed", f"an internal error ({type(error).__name__})")
