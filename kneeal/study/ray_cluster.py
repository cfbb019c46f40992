"""Cells on a Ray cluster. Ray is an extra and is imported when it is asked for."""

import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from kneeal.errors import UserError, extra, reason_of
from kneeal.files import hold_lock, write_atomic
from kneeal.study.cell import PROGRAM, start_new
from kneeal.study.folder import CellStatus, StudyFolder, outcome
from kneeal.study.grid import Cell, Study

#: How often Ray starts a cell again whose worker or node was lost.
_RETRIES = 5


def run_on_ray(
    study: Study, address: str, *, log: Callable[[str], None], gpus: float | None = None, cpus: float = 1.0
) -> dict[str, CellStatus]:
    """Run the unfinished cells of a study on a cluster, and return the status of each cell by name.

    Each cell is one Ray task that starts `python -m kneeal.study.cell`. A task whose worker or node is lost is started
    again elsewhere and resumes from the last finished round in the run folder, so the study folder must lie on storage
    that every node sees under the same path, as must the data set. Without `gpus`, a cell takes its number of devices
    where the cluster has GPUs.
    """
    with extra("ray", "--ray"):
        import ray
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise UserError(
            f"no Ray cluster at {address!r} ({reason_of(error)})",
            "the address of a running cluster, or auto on one of its nodes",
            "start it with `ray start --head`, or leave out --ray to run on this machine",
        ) from error
    try:
        return _run(ray, study, log, gpus, cpus)
    finally:
        ray.shutdown()


def _run(ray: Any, study: Study, log: Callable[[str], None], gpus: float | None, cpus: float) -> dict[str, CellStatus]:
    have = ray.cluster_resources()
    devices = max(cell.config.compute.devices for cell in study.cells)
    gpus = (float(devices) if have.get("GPU", 0) else 0.0) if gpus is None else gpus
    if have.get("CPU", 0) < cpus or have.get("GPU", 0) < gpus:
        raise UserError(
            f"a cluster with {have.get('CPU', 0):g} CPUs and {have.get('GPU', 0):g} GPUs",
            f"at least {cpus:g} CPUs and {gpus:g} GPUs for one cell",
            "start more nodes, or lower --cell-gpus or --cell-cpus",
        )
    folder = StudyFolder(study.out.resolve())
    folder.write(study)
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=_RETRIES, scheduling_strategy="SPREAD")(run_task)
    waiting = {}
    for cell in study.cells:
        if folder.status(cell).state != "finished":
            folder.file(cell, "error").unlink(missing_ok=True)
            waiting[task.remote(folder, cell)] = cell
    n_done = len(study.cells) - len(waiting)
    log(f"{n_done} of {len(study.cells)} cells are finished already; {len(ray.nodes())} nodes, {gpus:g} GPUs per cell")
    while waiting:
        (reference,), _ = ray.wait(list(waiting))
        cell = waiting.pop(reference)
        n_done += 1
        try:
            node = ray.get(reference)
        except ray.exceptions.RayError as error:
            # A failed task leaves an error file; a cell that lost all its workers does not.
            if not folder.file(cell, "error").is_file():
                write_atomic(folder.file(cell, "error"), f"lost on the cluster: {error}\n")
            node = ""
        log(outcome(study, cell, folder.status(cell), n_done, f"on {node}"))
    return {cell.name: folder.status(cell) for cell in study.cells}


def run_task(folder: StudyFolder, cell: Cell) -> str:
    """Run on a node: one cell in a process of its own. Returns the node's name; failures go to the error file."""
    node = socket.gethostname()
    config, log, lock = (folder.file(cell, what) for what in ("yaml", "log", "lock"))
    if not config.is_file():
        raise RuntimeError(f"{node} does not see {config}: the study folder must be on shared storage")
    with hold_lock(lock, on_wait=lambda: None):  # of a worker that is dying
        status = start_new(PROGRAM, folder.arguments(cell), os.environ, log).wait()
    if status < 0 or status == 128 + signal.SIGTERM:
        # The process was killed and did not fail: the worker goes with it, so that Ray starts the task again.
        os._exit(1)
    if status and not folder.file(cell, "error").is_file():
        write_atomic(folder.file(cell, "error"), f"exit status {status}; see {log}\n")
    return node
