"""One process at a time works on a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kneeal.errors import UserError

LOCK = ".lock"


@contextmanager
def lock_run(run: Path, name: str = LOCK) -> Iterator[None]:
    """Hold a run folder; the lock goes with the process, however that ends.

    Args:
        run: The run folder, which must be there.
        name: Of the lock's file, where it is not the work on the run that is held.

    Raises:
        UserError: Another process holds it.
    """
    handle = os.open(run / name, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            _take(handle)
        except OSError as error:
            raise UserError(
                f"another process works on {run}", "one at a time", "wait until it is done, or stop it"
            ) from error
        yield
    finally:
        os.close(handle)


def _take(handle: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
