"""One process at a time works on a run."""

from __future__ import annotations

import os
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
    import fcntl  # not on Windows, where the rest of the package works

    handle = os.open(run / name, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"another process works on {run}", "one at a time", "wait until it is done, or stop it"
            ) from error
        yield
    finally:
        os.close(handle)
