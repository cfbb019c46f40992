"""The process of a command: what reaches the terminal, how memory is kept, and how it ends.

It ends at once when its work is done, and within seconds of SIGTERM or Ctrl-C.
"""

import atexit
import ctypes
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
#: Seconds that a command has to end by itself, before its process is ended where it stands.
GRACE = 5.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def set_up_process() -> None:
    """Leave the terminal to what matters to the user, and keep freed memory: for a command that works on a run."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", module="lightning_fabric")
    warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation.*")
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Let the C library keep the memory of freed tensors for the next ones, which a CPU's training wants.

    glibc takes every block of more than 32 MB from the system and gives it back when it is freed, so that each pass
    of a full-width network touches all its pages again. Kept memory counts as the process's until it ends.

    Returns:
        Whether it is set: only where the C library is glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, musl for example
        return False
    # -1: nothing is given back. Training at full width frees more than the largest threshold that can be set, 2 GB.
    return bool(mallopt(_MMAP_THRESHOLD, 2**31 - 1) and mallopt(_TRIM_THRESHOLD, -1))


class Stopped(BaseException):
    """The process was asked to end.

    Not a `KeyboardInterrupt`, for which Lightning exits with status 1.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def run_and_exit(command: Callable[[], object]) -> None:
    """Run a command as all that a process does, and end the process with its exit status.

    The interpreter is not torn down. With torch loaded, that takes 1.8 s of processor time, in which no signal is
    handled, to free what the system frees anyway. Functions registered with `atexit` from now on are called.
    """
    status = 1  # of an exception that is not caught

    def end() -> None:
        unwritten = 0
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):  # a full disk, a closed pipe: the status that Python gives
                unwritten = 120
        os._exit(status or unwritten)

    atexit.register(end)
    try:
        command()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise


@contextmanager
def exit_on_signals(advice: str) -> Iterator[None]:
    """Exit with status 128 + n where signal n arrives while the block runs: 143 for SIGTERM, 130 for Ctrl-C.

    The main thread gets an exception, and so cleans up. Where that is swallowed or takes too long, for example in a
    library's own handler or in a long call into C, the process is ended all the same; every file of a run is written
    whole, so only the work in progress is lost. `advice`, how to continue, is printed to stderr.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()
    received: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked worker: end as it would without us
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        elif not received:
            received.append(signum)
            raise Stopped(signum)

    # Python's handlers can be replaced, as Lightning does, and wait for the main thread; this descriptor does not.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = {signum: signal.signal(signum, stop) for signum in _SIGNALS}
    other_writer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_end_late, args=(reader, advice), name="signals", daemon=True).start()
    try:
        yield
    except BaseException:
        if not received:
            raise
    finally:
        signal.set_wakeup_fd(other_writer)
        for signum, handler in before.items():
            signal.signal(signum, handler)
        os.close(writer)
    if received:
        print_once(f"stopped by {signal.Signals(received[0]).name}; {advice}")
        sys.exit(128 + received[0])


def _end_late(reader: int, advice: str) -> None:
    """Wait for a signal, then end the process if it has not ended by itself in time."""
    while received := os.read(reader, 1):
        if received[0] in _SIGNALS:
            time.sleep(GRACE)
            print_once(f"stopped by {signal.Signals(received[0]).name}; {advice}")
            os._exit(128 + received[0])
    os.close(reader)


def print_once(message: object) -> None:
    """Print a message to stderr. Lightning runs a command once more for every further device; one message is enough."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"kneeal: {message}", file=sys.stderr, flush=True)
