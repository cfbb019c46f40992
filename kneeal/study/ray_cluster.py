"""Cells on a Ray cluster. Ray is an extra and is imported when it is asked for."""

import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kneeal.data.prepared import MANIFEST, PreparedDataset
from kneeal.errors import UserError, extra
from kneeal.files import try_lock, write_atomic
from kneeal.loop.folder import RunFolder
from kneeal.study.folder import CellStatus, StudyFolder
from kneeal.study.grid import Study
from kneeal.study.show import outcome

#: Seconds to wait for the lock of a cell whose former worker is dying.
_LOCK_PATIENCE = 60.0


def run_on_ray(
    study: Study,
    address: str,
    *,
    log: Callable[[str], None],
    gpus: float | None = None,
    cpus: float = 1.0,
    ship_data: bool = False,
    max_retries: int = 5,
) -> dict[str, CellStatus]:
    """Run the unfinished cells of a study on a cluster, and return the status of each cell by name.

    Each cell is one Ray task that starts `python -m kneeal.study.cell`. A task whose worker or node is lost is started
    again elsewhere and goes on from the last finished round in the run folder, so the study folder must lie on storage
    that every node sees under the same path. `ship_data` sends the data set to each node once, for nodes that do not
    see its folder. Without `gpus`, a cell takes its number of devices where the cluster has GPUs.
    """
    ray = _import_ray()
    _connect(ray, address)
    try:
        return _run(ray, study, log, gpus, cpus, ship_data, max_retries)
    finally:
        ray.shutdown()


def _run(
    ray: Any, study: Study, log: Callable[[str], None], gpus: float | None, cpus: float, ship: bool, max_retries: int
) -> dict[str, CellStatus]:
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
    packed = ray.put(_pack(study)) if ship else None
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=max_retries, scheduling_strategy="SPREAD")(_cell_task)
    waiting = {}
    for cell in study.cells:
        if folder.status(cell).state != "finished":
            folder.error(cell).unlink(missing_ok=True)
            paths = [str(p) for p in (folder.config(cell), folder.run(cell), folder.error(cell), folder.log(cell))]
            waiting[task.remote(paths, str(folder.lock(cell)), packed)] = cell
    n_done = len(study.cells) - len(waiting)
    log(f"{n_done} of {len(study.cells)} cells are finished already; {len(ray.nodes())} nodes, {gpus:g} GPUs a cell")
    while waiting:
        done, _ = ray.wait(list(waiting), num_returns=1)
        for reference in done:
            cell = waiting.pop(reference)
            n_done += 1
            try:
                node = ray.get(reference)
            except ray.exceptions.RayError as error:
                # A failed task leaves an error file; a cell that lost all its workers does not.
                if not folder.error(cell).is_file():
                    write_atomic(folder.error(cell), f"lost on the cluster: {error}\n")
                node = ""
            log(outcome(study, cell, folder.status(cell), n_done, f"on {node}"))
    return {cell.name: folder.status(cell) for cell in study.cells}


def _cell_task(paths: list[str], lock: str, packed: tuple[str, bytes] | None) -> str:
    """Run on a node: one cell in a process of its own. Returns the node's name; failures go to the error file."""
    config, run, error, log = map(Path, paths)
    if not config.is_file():
        raise RuntimeError(f"{socket.gethostname()} does not see {config}: the study folder must be on shared storage")
    handle = _wait_for_lock(Path(lock))
    try:
        if RunFolder(run).finished:
            return socket.gethostname()
        command = [sys.executable, "-m", "kneeal.study.cell", str(config), str(run), str(error)]
        if packed is not None:
            command.append(str(_unpack(*packed)))
        with log.open("ab") as output:
            options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
            done = subprocess.run(command, pass_fds=(handle,), check=False, **options)
        if done.returncode < 0 or done.returncode == 128 + signal.SIGTERM:
            # The process was killed and did not fail: the worker goes with it, so that Ray starts the task again.
            os._exit(1)
        if done.returncode and not error.is_file():
            write_atomic(error, f"exit status {done.returncode}; see {log}\n")
        return socket.gethostname()
    finally:
        os.close(handle)


def _wait_for_lock(lock: Path) -> int:
    deadline = time.monotonic() + _LOCK_PATIENCE
    while (handle := try_lock(lock)) is None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"another process works on the cell ({lock})")
        time.sleep(0.2)
    return handle


def _pack(study: Study) -> tuple[str, bytes]:
    """Checksum and content of the one data set of a study."""
    folders = {cell.config.data.dir for cell in study.cells}
    if len(folders) != 1 or None in folders:
        raise UserError(
            f"{len(folders)} data sets to ship", "one data set for all cells", "give --data, or use shared storage"
        )
    dataset = PreparedDataset.open(Path(str(folders.pop())))
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for path in sorted(dataset.path.iterdir()):
            archive.add(path, arcname=path.name)
    return dataset.fingerprint[:16], content.getvalue()


def _unpack(digest: str, content: bytes) -> Path:
    """Unpack a shipped data set once a node; several cells may try at the same time."""
    target = Path(tempfile.gettempdir()) / f"kneeal-data-{digest}"
    if not (target / MANIFEST).is_file():
        work = Path(tempfile.mkdtemp(prefix="kneeal-data-"))
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(work, filter="data")
        try:
            work.rename(target)
        except OSError:  # another cell was first
            if not (target / MANIFEST).is_file():
                raise
    return target


def _connect(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise UserError(
            f"no Ray cluster at {address!r} ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
            "the address of a running cluster, or auto on one of its nodes",
            "start it with `ray start --head`, or leave out --ray to run on this machine",
        ) from error


def _import_ray() -> Any:
    with extra("ray", "--ray"):
        import ray
    return ray
