"""A process for each cell: forked from one that has the heavy modules loaded where that is safe, else a new Python."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, reduction
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Protocol

from kneeal.build.devices import count_devices
from kneeal.config import RunConfig
from kneeal.study.cell import main

#: Numbers of threads that libraries read from the environment, most of them once, when they are loaded.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
#: What runs a cell in a new Python; the cell's arguments follow.
PROGRAM = (sys.executable, "-m", "kneeal.study.cell")
#: What a cell has imported by its end.
_PRELOADED = ["kneeal.cli", "kneeal.jobs.fit"]


class CellProcess(Protocol):
    """The methods of `subprocess.Popen` that a study uses."""

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, at most `timeout` seconds; raises `subprocess.TimeoutExpired`."""


def forkable(config: RunConfig) -> bool:
    """Whether a cell may be forked: not if it uses a GPU, if Lightning starts it again, or if W&B ends it late."""
    compute = config.compute
    on_cpu = compute.accelerator == "cpu" or (compute.accelerator == "auto" and not any(count_devices().values()))
    return sys.platform == "linux" and on_cpu and compute.devices == 1 and config.tracking.mode == "none"


def start(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    lock: int,
    program: Sequence[str] | None = None,
) -> CellProcess:
    """Start a cell.

    Args:
        arguments: Of `kneeal.study.cell`.
        environment: The cell's environment variables.
        log: File that its output is appended to.
        lock: Descriptor that the cell keeps open until it ends.
        program: Runs the cell in a new process; None forks it from a process that all cells share.
    """
    if program is None:
        return _Forked(arguments, environment, log, lock)
    with log.open("ab") as output:
        return subprocess.Popen(
            [*program, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
        )


class _Forked:
    """A cell that is forked from the server of `multiprocessing`."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path, lock: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        _ensure_server()
        self._process: ForkServerProcess = context.Process(
            target=_run, args=(tuple(arguments), dict(environment), log, _Descriptor(lock))
        )
        self._process.start()
        self.terminate, self.kill = self._process.terminate, self._process.kill

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("cell", timeout or 0.0)
        return self._process.exitcode


class _Descriptor:
    """A file descriptor that arrives as a copy of it, an int, where a process is started with it."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> Any:
        return _detach, (reduction.DupFd(self._number),)


def _detach(descriptor: Any) -> int:
    number: int = descriptor.detach()
    return number


def _ensure_server() -> None:
    """Start the server unless it runs, with libraries that start no threads: a fork copies the calling one alone."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    forkserver.ensure_running()
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


def _run(arguments: Sequence[str], environment: Mapping[str, str], log: Path, lock: int) -> None:
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
