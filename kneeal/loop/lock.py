"""One process at a time works on a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kneeal.errors import UserError
from kneeal.files import hold

LOCK = ".lock"


@contextmanager
def lock_run(run: Path, name: str = LOCK) -> Iterator[None]:
    """Hold a run folder.

    Args:
        run: The run folder, which must exist.
        name: Name of the lock file.

    Raises:
        UserError: Another process holds it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(hold(run / name))
        except BlockingIOError as error:
            raise UserError(
                f"another process works on {run}", "one process at a time", "wait until it is done, or stop it"
            ) from error
        yield
