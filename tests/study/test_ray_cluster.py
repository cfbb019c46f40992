"""A real Ray cluster of two nodes on this machine: a worker is killed in mid-run, and then a node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from helpers.knees import pairs, table

from kneeal.data.prepared import write_prepared
from kneeal.study.folder import StudyFolder
from kneeal.study.grid import read_study
from kneeal.study.ray_cluster import run_on_ray, run_task

ray = pytest.importorskip("ray", reason="the extra kneeal[ray] is not installed")

BASE = {
    "data": {"patch_size": 8},
    "model": {"width": 1},
    "training": {"epochs": 12, "milestones": [10], "eval_batch_size": 64},
    "active": {"strategy": "entropy", "n_init": 6, "n_query": 5, "budget": 21},
    "tracking": {"mode": "none"},
    "compute": {"accelerator": "cpu"},
}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    memory = {"object_store_memory": 80 * 1024**2, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **memory})
    made.add_node(num_cpus=1, object_store_memory=80 * 1024**2)
    yield made
    ray.shutdown()
    made.shutdown()


def cell_processes(run: Path) -> list[int]:
    """Processes that work on a cell, the workers' children."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"kneeal.study.cell" in words and str(run).encode() in words:
            found.append(int(entry.parent.name))
    return found


def parent(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("PPid")).split()[1])


def wait_for(what: Any, seconds: float = 600) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.mark.timeout(1800)  # two nodes, two cells and two kills: minutes where the machine is busy
def test_a_lost_worker_and_a_lost_node_cost_only_the_round_in_flight(cluster: Any, tmp_path: Path) -> None:
    write_prepared(tmp_path / "data", table(60), pairs(120, 16), source="test", options={}, patch_px=16)
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({"name": "s", "base": BASE, "seeds": [0, 1]}))
    study = read_study(file, data=str(tmp_path / "data"), out=tmp_path / "out")
    runs = [study.out / cell.name for cell in study.cells]
    said: list[str] = []
    errors: list[BaseException] = []

    def drive() -> None:
        try:
            run_on_ray(study, cluster.address, log=said.append)
        except BaseException as error:
            errors.append(error)

    driver = threading.Thread(target=drive)
    driver.start()
    wait_for(lambda: errors or (runs[0] / "rounds/000/query.json").exists())
    assert not errors, errors
    first_rounds = (runs[0] / "rounds/000/metrics.json").stat().st_mtime_ns
    worker = parent(wait_for(lambda: cell_processes(runs[0]))[0])
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: errors or (runs[1] / "rounds/000/query.json").exists())
    cluster.remove_node(next(node for node in cluster.worker_nodes), allow_graceful=False)
    driver.join(600)
    assert not driver.is_alive() and not errors, errors
    assert [StudyFolder(study.out).status(cell).state for cell in study.cells] == ["finished"] * 2, said
    assert (runs[0] / "rounds/000/metrics.json").stat().st_mtime_ns == first_rounds, "a finished round is kept"
    for run in runs:
        assert pd.read_csv(run / "rounds.csv")["n_labeled"].tolist() == [6, 11, 16, 21]
    assert "[2/2]" in said[-1]


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({"name": "s", "base": BASE}))
    code = (
        "import sys; from pathlib import Path; from kneeal.study.grid import read_study\n"
        "from kneeal.study.ray_cluster import run_on_ray\n"
        "study = read_study(Path(sys.argv[1]))\n"
        "try: run_on_ray(study, 'auto', log=print)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"RAY_TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, env=environment, check=False
    )
    assert "UserError no Ray cluster at 'auto'" in done.stdout, done.stdout + done.stderr


def test_a_node_without_the_data_or_the_study_folder_says_so(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({"name": "s", "base": BASE}))
    study = read_study(file, data=str(tmp_path / "elsewhere"), out=tmp_path / "out")
    folder = StudyFolder(study.out)
    (cell,) = study.cells
    with pytest.raises(RuntimeError, match="must be on shared storage"):
        run_task(folder, cell)
    folder.write(study)
    run_task(folder, cell)
    status = folder.status(cell)
    assert status.state == "failed"
    assert str(tmp_path / "elsewhere") in str(status.error)
    assert not folder.run(cell).exists(), "nothing half-written that a later node would go on from"
