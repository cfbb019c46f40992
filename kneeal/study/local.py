"""Cells on this machine: a limited number of processes, each with its share of processors and GPUs."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field

from kneeal.errors import UserError, unknown_name
from kneeal.files import hold_lock, try_lock, write_atomic
from kneeal.jobs.process import GRACE
from kneeal.study.cell import PROGRAM, THREADS, ForkedCell, forkable, run_cell, start_new
from kneeal.study.folder import CellStatus, StudyFolder, check_data, outcome
from kneeal.study.grid import Cell, Study


@dataclass(frozen=True)
class Resources:
    """What the cells may use."""

    workers: int  #: Cells at once.
    threads: int  #: Threads of each.
    gpus: tuple[str, ...] = ()  #: The GPUs, as CUDA_VISIBLE_DEVICES names them. Cells are spread over them evenly.


def find_resources(
    study: Study, *, workers: int | None = None, gpu_fraction: float = 1.0, gpus: Sequence[str] | None = None
) -> Resources:
    """How much of this machine to use.

    Args:
        study: Its cells say whether they want GPUs.
        workers: Cells at once; by default what the GPUs hold, without a GPU half of the processors.
        gpu_fraction: Share of a GPU that a cell takes, in (0, 1].
        gpus: The GPUs; found if None.

    Raises:
        UserError: A number is out of range.
    """
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}", "at least 1", "give the number of cells to run at once")
    if not 0.0 < gpu_fraction <= 1.0:
        raise UserError(f"--gpu-fraction {gpu_fraction}", "more than 0 and at most 1", "give a share of one GPU")
    devices = max(cell.config.compute.devices for cell in study.cells)
    on_cpu = all(cell.config.compute.accelerator == "cpu" for cell in study.cells)
    gpus = () if on_cpu else tuple(visible_gpus() if gpus is None else gpus)
    per_gpu = 1 if devices > 1 else max(1, int(1.0 / gpu_fraction + 1e-9))
    cpus = n_cpus()
    slots = max(1, len(gpus) // devices) * per_gpu if gpus else max(1, cpus // 2)
    workers = min(slots if workers is None else workers, len(study.cells))
    if gpus:
        workers = min(workers, slots)
    given = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(given) if given.isdigit() and int(given) > 0 else max(1, cpus // (workers * (1 if gpus else devices)))
    return Resources(workers, threads, gpus)


def n_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """The GPUs as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    count = torch.cuda.device_count()
    return named[:count] if named else [str(number) for number in range(count)]


@dataclass
class _Running:
    cell: Cell
    process: ForkedCell | subprocess.Popen[bytes]
    lock: int
    gpus: list[str]
    started: float = field(default_factory=time.monotonic)


@dataclass
class LocalStudy:
    """Runs the cells of a study that are not finished."""

    study: Study  #: The cells.
    resources: Resources  #: What to use.
    _: KW_ONLY
    log: Callable[[str], None]  #: Called with each line for the user.
    #: What runs a cell in place of `kneeal.study.cell`, with the same arguments.
    program: Sequence[str] | None = None
    poll: float = 0.2  #: Seconds between two looks at the processes.
    _running: list[_Running] = field(default_factory=list, init=False)
    _n_done: int = field(default=0, init=False)

    @property
    def folder(self) -> StudyFolder:
        """The study on disk."""
        return StudyFolder(self.study.out)

    def run(self) -> dict[str, CellStatus]:
        """Run until every cell is finished or failed.

        It waits for a cell that another process works on. A failed cell does not stop the others.

        Returns:
            The status of each cell by name.
        """
        self.folder.write(self.study)
        waiting = [cell for cell in self.study.cells if self.folder.status(cell).state != "finished"]
        self._n_done = len(self.study.cells) - len(waiting)
        if self._n_done:
            self.log(f"{self._n_done} of {len(self.study.cells)} cells are finished already")
        elsewhere: set[str] = set()
        try:
            while waiting or self._running:
                for cell in [*waiting]:
                    if len(self._running) >= self.resources.workers:
                        break
                    if self.folder.status(cell).state == "finished":
                        waiting.remove(cell)
                        self._n_done += 1
                    elif self._start(cell):
                        waiting.remove(cell)
                    elif cell.name not in elsewhere:
                        elsewhere.add(cell.name)
                        self.log(f"{cell.name}: another process is working on it; waiting")
                time.sleep(self.poll)
                self._collect()
        finally:
            self._stop()
        return {cell.name: self.folder.status(cell) for cell in self.study.cells}

    def _start(self, cell: Cell) -> bool:
        used = [gpu for running in self._running for gpu in running.gpus]
        gpus = sorted(self.resources.gpus, key=used.count)[: cell.config.compute.devices]  # the least used
        lock = try_lock(self.folder.file(cell, "lock"))
        if lock is None:
            return False
        self.folder.file(cell, "error").unlink(missing_ok=True)
        environment = {**os.environ, **dict.fromkeys(THREADS, str(self.resources.threads))}
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        arguments, log = self.folder.arguments(cell), self.folder.file(cell, "log")
        if self.program is None and forkable(cell.config):
            process: ForkedCell | subprocess.Popen[bytes] = ForkedCell(arguments, environment, log)
        else:
            process = start_new(self.program or PROGRAM, arguments, environment, log)
        self._running.append(_Running(cell, process, lock, gpus))
        self.log(f"{cell.setting}, seed {cell.seed}: started ({cell.name})")
        return True

    def _collect(self) -> None:
        for running in [*self._running]:
            code = running.process.poll()
            if code is None:
                continue
            self._running.remove(running)
            os.close(running.lock)
            cell, error = running.cell, self.folder.file(running.cell, "error")
            if code != 0 and not error.is_file():
                cause = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
                write_atomic(error, f"{cause}; see {self.folder.file(cell, 'log')}\n")
            self._n_done += 1
            minutes = (time.monotonic() - running.started) / 60
            self.log(outcome(self.study, cell, self.folder.status(cell), self._n_done, f"in {minutes:.1f} min"))

    def _stop(self) -> None:
        """End what still runs; each cell resumes from its last finished round at the next start."""
        for running in self._running:
            running.process.terminate()
        end = time.monotonic() + GRACE - 1  # before this process is ended itself
        for running in self._running:
            try:
                running.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()
            with suppress(OSError):
                os.close(running.lock)
        self._running.clear()


def run_single(study: Study, *, name: str | None = None, index: int | None = None) -> None:
    """Run or resume the cell with a name, or with an index from 0; a finished one is left as it is."""
    if (name is None) == (index is None):
        found = "no cell" if name is None else "a name and an index"
        raise UserError(found, "one of --cell and --index", "give one of them")
    cells = {cell.name: cell for cell in study.cells}
    if index is not None and not 0 <= index < len(cells):
        raise UserError(f"--index {index}", f"0 to {len(cells) - 1}", f"choose one of the {len(cells)} cells")
    if name is not None and name not in cells:
        raise unknown_name("cell", name, cells, "see `kneeal study status`")
    cell = cells[name] if name is not None else study.cells[index or 0]
    folder = StudyFolder(study.out)
    check_data(study)
    folder.write(study)
    with hold_lock(folder.file(cell, "lock"), what=cell.name):
        if folder.status(cell).state == "finished":
            print(f"{cell.name} is finished already")
            return
        folder.file(cell, "error").unlink(missing_ok=True)
        run_cell(folder.file(cell, "yaml"), folder.run(cell))
