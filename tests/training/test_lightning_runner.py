"""How the runner sets torch up for a run, through the command line."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.commands import QUICK, done
from torch import nn
from torch.torch_version import TorchVersion

from kneeal.errors import UserError
from kneeal.training.learner import compiled
from kneeal.training.lightning_runner import load_network


def results(run: Path) -> tuple[list[list[str]], list[float]]:
    queries = [
        json.loads(p.read_text())["ids"] for p in (run / "start/query.json", *sorted(run.glob("rounds/*/query.json")))
    ]
    with (run / "rounds.csv").open() as file:
        return queries, [float(row["test_balanced_accuracy"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def plain(data: Path) -> Path:
    run = data.parent / "plain"
    done("fit", "--strategy", "mi_mcd", "--data", data, "--out", run, *QUICK)
    return run


def test_a_run_is_deterministic_but_new_memory_is_not_written_twice(data: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.utils.deterministic.fill_uninitialized_memory", True)
        done("fit", "--strategy", "mi_mcd", "--data", data, "--out", tmp_path / "run", *QUICK)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.utils.deterministic.fill_uninitialized_memory is False  # type: ignore[attr-defined]


def test_a_torch_that_breaks_the_process_is_refused_before_it_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.8.0")
    with pytest.raises(UserError, match="crashes in compiled training"):
        compiled(nn.Linear(1, 1), "default")(torch.zeros(1, 1))


@pytest.mark.skipif(
    TorchVersion(torch.__version__) < "2.9" or not any(map(shutil.which, ("g++", "clang++"))),
    reason="no C++ compiler, or PyTorch older than 2.9",
)
def test_a_compiled_run_asks_what_an_uncompiled_one_asks(data: Path, plain: Path, tmp_path: Path) -> None:
    counted = torch._dynamo.utils.counters["stats"]
    before = counted["unique_graphs"]
    done(
        "fit",
        "--strategy",
        "mi_mcd",
        "--data",
        data,
        "--out",
        tmp_path / "run",
        *QUICK,
        "--set",
        "compute.compile=default",
    )
    assert counted["unique_graphs"] > before
    torch._dynamo.reset()
    (queries, accuracies), (other, others) = results(tmp_path / "run"), results(plain)
    assert queries == other
    assert accuracies == pytest.approx(others)


def test_a_checkpoint_that_is_damaged_or_of_a_diverged_training_is_refused(tmp_path: Path) -> None:
    network, file = nn.Linear(2, 2), tmp_path / "best.ckpt"
    file.write_bytes(b"x")
    with pytest.raises(UserError, match="is not a checkpoint of this network"):
        load_network(network, file)
    torch.save(
        {"state_dict": {f"network.{k}": torch.full_like(w, torch.nan) for k, w in network.state_dict().items()}}, file
    )
    with pytest.raises(UserError, match="diverged"):
        load_network(network, file)
