"""A candidate in a process of its own, as who uses it runs it: without what the commands of kneeal set up in theirs."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from timing import Candidate, Turn, now, since


class Alone:
    """Makes a candidate in a new process and does its turns there.

    Args:
        make: A function of a module that makes the candidate.
        arguments: What it is given.
    """

    def __init__(self, make: Callable[..., Candidate], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, make, *arguments))
        self._process.start()
        there.close()

    def wait(self) -> None:
        """Until the candidate is made.

        Raises:
            RuntimeError: It cannot be made.
        """
        error = self._here.recv()
        if error is not None:
            raise RuntimeError(error)

    def __call__(self) -> Turn:
        """One turn."""
        self._here.send(True)
        turn: Turn = self._here.recv()
        return turn

    def end(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):  # it has ended itself
            self._here.send(False)
        self._process.join(10)
        self._process.kill()


def _serve(there: Connection, make: Callable[..., Candidate], *arguments: Any) -> None:
    try:
        candidate = make(*arguments)
    except Exception as error:
        there.send(f"{type(error).__name__}: {error}")
        return
    there.send(None)
    while there.recv():
        start = now()
        candidate()
        there.send(since(start))
