"""The process that trains the next round, as the server holds it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from kneeal.annotate.schema import PRIVATE


class TrainingProcess:
    """Started in a session of its own, and told to begin later: its imports take seconds.

    Its standard input is a pipe. When this process ends, in whatever way, the pipe closes, and the training ends with
    it.

    Args:
        command: Trains and makes the next query, once it can read a byte from its standard input.
        log: Its output goes to the end of this file.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with _open_private(log) as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True, bufsize=0
            )

    def begin(self) -> None:
        """Let it train."""
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it has ended, and its status says how
                self.process.stdin.write(b"\n")

    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        return self.process.poll()

    def end(self) -> None:
        """End it with its children; a run that is killed at any instant goes on where it was."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        if sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()

    def last_message(self) -> str:
        """The last message of a training that failed."""
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            return "it left no log"
        messages = [line for line in lines if line.startswith("kneeal: ")]
        return (messages or lines or ["it left no message"])[-1].removeprefix("kneeal: ")


def _open_private(path: Path) -> IO[bytes]:
    """Open a file that only its owner can read, to append to it."""
    file = open(path, "ab", opener=lambda name, flags: os.open(name, flags, PRIVATE))  # noqa: SIM115
    path.chmod(PRIVATE)
    return file
