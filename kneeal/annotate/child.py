"""The training of the next round in a process of its own, which ends with the server that started it.

`python -m kneeal.annotate.child RUN [DATA]` imports what it needs only once it watches its standard input, a pipe that
closes when the server is gone: the imports alone take seconds, in which a server can be killed. It trains once it has
read a byte, so that the server can start it while a reader may still take an answer back.
"""

import os
import signal
import sys
import threading
from pathlib import Path


def watch_input() -> threading.Event:
    """Kill this process and its children when its standard input closes.

    Returns:
        Set once something was read.
    """
    told = threading.Event()

    def watch() -> None:
        while os.read(0, 1):  # not through a buffer, whose lock would be held when the interpreter ends
            told.set()
        if sys.platform != "win32":
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="watch input", daemon=True).start()
    return told


def main() -> None:
    """Train, and make the next query."""
    run, *data = map(Path, sys.argv[1:])
    told = watch_input()

    from kneeal.annotate.next_round import next_round
    from kneeal.errors import UserError
    from kneeal.jobs.signals import exit_on_signals

    told.wait()
    try:
        with exit_on_signals("it begins again with the server"):
            next_round(run, *data)
    except UserError as error:
        print(f"kneeal: {error.found} ({error.cure})", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
