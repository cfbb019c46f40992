"""One cell in a process of its own: `python -m kneeal.study.cell CONFIG RUN ERROR`."""

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
    config, out, error_file = map(Path, arguments)
    first = os.environ.get("LOCAL_RANK", "0") == "0"  # Lightning starts the command again for every further device
    if first:
        with suppress(OSError, AttributeError):  # on Linux, the kernel ends this process with the study
            pr_set_pdeathsig = 1
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    try:
        with exit_on_signals("start the study again to go on"):
            run_cell(config, out)
    except Exception as error:
        mistake = isinstance(error, UserError)
        report = str(error) if mistake else f"{type(error).__name__}: {error}"
        if first:
            write_atomic(error_file, f"{report}\n\n{traceback.format_exc()}")
        print(report if mistake else traceback.format_exc(), file=sys.stderr)
        sys.exit(2 if mistake else 1)


def run_cell(config: Path, out: Path) -> None:
    """Run the cell of a configuration in its run folder, or go on with it."""
    import torch

    from kneeal.config import resolve
    from kneeal.jobs.fit import run_fit

    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    # The cell of a study that was killed may take a few seconds to end.
    run_fit(resolve(str(config)), out, resume=True, wait=True)


if __name__ == "__main__":
    run_and_exit(lambda: main(sys.argv[1:]))
