"""The process that trains the next round, as the server holds it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kneeal.annotate.schema import PRIVATE

#: In the run folder: how far the process is, what it says, and the round that it computes ahead of its time.
PROGRESS, LOG, AHEAD = "annotate_progress.json", "annotate.log", ".ahead"
#: Orders: compute the next round ahead of its time, and make it the run's.
COMPUTE, PUBLISH = b"c", b"p"


class TrainingProcess:
    """Started in a session of its own, before it is needed: its imports take seconds.

    Its standard input is a pipe that carries orders. When this process ends, in whatever way, the pipe closes, and the
    training ends with it.

    Args:
        command: Takes the orders.
        run: The run folder.
    """

    def __init__(self, command: Sequence[str], run: Path) -> None:
        self._run = run
        (run / PROGRESS).unlink(missing_ok=True)
        log = run / LOG
        with open(log, "ab", opener=lambda name, flags: os.open(name, flags, PRIVATE)) as output:
            log.chmod(PRIVATE)
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True, bufsize=0
            )

    def order(self, what: bytes) -> None:
        """Give it an order."""
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it has ended, and its status says how
                self.process.stdin.write(what)

    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        return self.process.poll()

    def end(self) -> None:
        """End it with its children and what it has not published; the run goes on where it was."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        if sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()
        shutil.rmtree(self._run / AHEAD, ignore_errors=True)

    def last_message(self) -> str:
        """The last message of a training that failed."""
        try:
            lines = (self._run / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            return "it left no log"
        messages = [line for line in lines if line.startswith("kneeal: ")]
        return (messages or lines or ["it left no message"])[-1].removeprefix("kneeal: ")
