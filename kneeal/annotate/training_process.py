"""The process that trains the next round: as the server holds it, and what runs in it.

`python -m kneeal.annotate.training_process RUN [DATA]` imports what it needs only once it watches its standard input, a
pipe that closes when the server is gone: the imports alone take seconds, in which a server can be killed. Orders come
the same way, one byte each, so that it is ready when a reader gives her last answers.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue

from kneeal.annotate.schema import PRIVATE
from kneeal.errors import UserError
from kneeal.jobs.process import exit_on_signals, run_and_exit

#: In the run folder: how far the process is, what it says, and the round that it computes ahead of its time.
PROGRESS, LOG, AHEAD = "annotate_progress.json", "annotate.log", ".ahead"
#: Orders: compute the next round ahead of its time, and make it the run's.
COMPUTE, PUBLISH = b"c", b"p"


class TrainingProcess(subprocess.Popen[bytes]):
    """Started in a session of its own, before it is needed.

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
            super().__init__(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True, bufsize=0
            )

    def order(self, what: bytes) -> None:
        """Give it an order."""
        if self.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it has ended, and its status says how
                self.stdin.write(what)

    def end(self) -> None:
        """End it with its children and what it has not published; the run stays where it was."""
        if self.stdin is not None:
            self.stdin.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()
        shutil.rmtree(self._run / AHEAD, ignore_errors=True)

    def last_message(self) -> str:
        """The last message of a training that failed."""
        try:
            lines = (self._run / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            return "it left no log"
        messages = [line for line in lines if line.startswith("kneeal: ")]
        return (messages or lines or ["it left no message"])[-1].removeprefix("kneeal: ")


def watch_input() -> SimpleQueue[bytes]:
    """Kill this process and its children when its standard input closes.

    Returns:
        The orders that were read.
    """
    orders: SimpleQueue[bytes] = SimpleQueue()

    def watch() -> None:
        while order := os.read(0, 1):  # not through a buffer, whose lock would be held when the interpreter ends
            orders.put(order)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="watch input", daemon=True).start()
    return orders


def main() -> None:
    """Train, and make the next query."""
    run, *data = map(Path, sys.argv[1:])
    orders = watch_input()

    from kneeal.annotate.next_round import next_round

    try:
        with exit_on_signals("training starts again with the server"):
            next_round(run, *data, order=orders.get)
    except UserError as error:
        print(f"kneeal: {error.found} ({error.cure})", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    run_and_exit(main)
