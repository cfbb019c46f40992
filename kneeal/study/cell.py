"""One cell in a process of its own: `python -m kneeal.study.cell CONFIG RUN ERROR [DATA]`."""

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from kneeal.errors import UserError
from kneeal.files import write_atomic
from kneeal.jobs.signals import exit_on_signals, run_and_exit


def main(arguments: Sequence[str]) -> None:
    """Run or resume a cell; on failure leave its error in a file, the message first."""
    config, out, error_file = map(Path, arguments[:3])
    _end_with_parent()
    try:
        with exit_on_signals("start the study again to go on"):
            run_cell(config, out, data=arguments[3] if len(arguments) > 3 else None)
    except Exception as error:
        report = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        if os.environ.get("LOCAL_RANK", "0") == "0":
            write_atomic(error_file, f"{report}\n\n{traceback.format_exc()}")
        print(report if isinstance(error, UserError) else traceback.format_exc(), file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 1)


def run_cell(config: Path, out: Path, *, data: str | None = None) -> None:
    """Run a cell, or go on with it.

    Args:
        config: Its configuration.
        out: Its run folder.
        data: Where the data set is on this machine; where the configuration says if None.
    """
    import torch

    from kneeal.config import resolve
    from kneeal.jobs.fit import run_fit

    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    run_fit(resolve(str(config), flags={"data.dir": data}), out, resume=True)


def _end_with_parent() -> None:
    """Let the kernel end this process with the study that started it, however that ends (Linux)."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    with suppress(OSError, AttributeError):
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


if __name__ == "__main__":
    run_and_exit(lambda: main(sys.argv[1:]))
