"""One cell in a process of its own: `python -m kneeal.study.cell CONFIG RUN ERROR`.

Where that is safe, it is forked from one process that has the heavy modules loaded.
"""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from kneeal.config import RunConfig, resolve
from kneeal.errors import UserError
from kneeal.files import write_atomic
from kneeal.jobs.process import exit_on_signals, run_and_exit

#: Numbers of threads that libraries read from the environment, most of them once, when they are loaded.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
#: What runs a cell in a new Python; the cell's arguments follow.
PROGRAM = (sys.executable, "-m", "kneeal.study.cell")
#: What a cell has imported by its end.
_PRELOADED = ["kneeal.cli", "kneeal.jobs.fit"]


def main(arguments: Sequence[str]) -> None:
    """Run or resume a cell; on failure leave its error in a file, the message first."""
    config, out, error_file = map(Path, arguments)
    first = os.environ.get("LOCAL_RANK", "0") == "0"  # Lightning starts the command again for every further device
    if first:
        with suppress(OSError, AttributeError):  # on Linux, the kernel ends this process with the study
            pr_set_pdeathsig = 1
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    try:
        with exit_on_signals("start the study again to continue"):
            run_cell(config, out)
    except Exception as error:  # kept in a file for the study to show
        mistake = isinstance(error, UserError)
        report = str(error) if mistake else f"{type(error).__name__}: {error}"
        if first:
            write_atomic(error_file, f"{report}\n\n{traceback.format_exc()}")
        print(report if mistake else traceback.format_exc(), file=sys.stderr)
        sys.exit(2 if mistake else 1)


def run_cell(config: Path, out: Path) -> None:
    """Run the cell of a configuration in its run folder, or resume it."""
    import torch

    from kneeal.jobs.fit import run_fit

    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    # The cell of a study that was killed may take a few seconds to end.
    run_fit(resolve(str(config)), out, resume=True, wait=True)


def forkable(config: RunConfig) -> bool:
    """Whether a cell may be forked: not if it uses a GPU, if Lightning starts it again, or if W&B ends it late."""
    from kneeal.build.start import count_devices

    compute = config.compute
    on_cpu = compute.accelerator == "cpu" or (compute.accelerator == "auto" and not any(count_devices().values()))
    return sys.platform == "linux" and on_cpu and compute.devices == 1 and config.tracking.mode == "none"


class ForkedCell:
    """A cell that is forked from the server of `multiprocessing`, with the methods of `subprocess.Popen`.

    Args:
        arguments: Of `kneeal.study.cell`.
        environment: The cell's environment variables.
        log: File that its output is appended to.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        # What starts with the first cell must have one thread: a fork copies the calling thread alone.
        os.environ.update(dict.fromkeys(THREADS, "1"))
        self.process: ForkServerProcess = context.Process(target=_run, args=(arguments, dict(environment), log))
        self.process.start()
        self.terminate, self.kill = self.process.terminate, self.process.kill

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, at most `timeout` seconds; raises `subprocess.TimeoutExpired`."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("cell", timeout or 0.0)
        return self.process.exitcode


def start_new(
    program: Sequence[str], arguments: Sequence[str], environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start a cell in a new process; the arguments are those of `ForkedCell`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [*program, *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )


def _run(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    """Run a cell in the forked process, with the files and the environment that a new process would have."""
    with Path(os.devnull).open("rb") as nothing, log.open("ab") as output:
        for target, source in enumerate((nothing, output, output)):
            os.dup2(source.fileno(), target)
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_end_with_study, name="study", daemon=True).start()
    main(arguments)


def _end_with_study() -> None:
    """End this process with the study, however that ends: its parent is the server, which outlives the study."""
    study = multiprocessing.parent_process()
    if study is not None:
        study.join()
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    run_and_exit(lambda: main(sys.argv[1:]))
