"""The training of the next round in a process of its own, which ends with the server that started it.

`python -m kneeal.annotate.child RUN [DATA]` imports what it needs only once it watches its standard input, a pipe that
closes when the server is gone: the imports alone take seconds, in which a server can be killed. Orders come the same
way, one byte each, so that it is ready when a reader gives her last answers.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from queue import SimpleQueue

from kneeal.errors import UserError
from kneeal.jobs.signals import exit_on_signals, run_and_exit


def watch_input() -> SimpleQueue[bytes]:
    """Kill this process and its children when its standard input closes.

    Returns:
        The orders that were read.
    """
    orders: SimpleQueue[bytes] = SimpleQueue()

    def watch() -> None:
        while order := os.read(0, 1):  # not through a buffer, whose lock would be held when the interpreter ends
            orders.put(order)
        if sys.platform != "win32":
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="watch input", daemon=True).start()
    return orders


def main() -> None:
    """Train, and make the next query."""
    run, *data = map(Path, sys.argv[1:])
    orders = watch_input()

    from kneeal.annotate.next_round import next_round

    try:
        with exit_on_signals("it begins again with the server"):
            next_round(run, *data, order=orders.get)
    except UserError as error:
        print(f"kneeal: {error.found} ({error.cure})", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    run_and_exit(main)
