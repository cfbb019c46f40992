"""One process at a time works on a run."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from kneeal.files import hold

LOCK = ".lock"


def lock_run(run: Path, name: str = LOCK) -> AbstractContextManager[None]:
    """Hold a run folder.

    Args:
        run: The run folder.
        name: Name of the lock file.

    Raises:
        UserError: Another process holds it.
    """
    return hold(run / name, what=run)
