from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.commands import QUICK, done
from helpers.knees import pairs, table
from helpers.wandb_file import read_finished

from kneeal.data.prepared import write_prepared
from kneeal.errors import UserError
from kneeal.study.grid import read_study
from kneeal.study.single import run_single, sweep_yaml

TABLE2 = Path(__file__).parents[2] / "configs" / "table2.yaml"


def test_a_sweep_has_the_cells_of_the_grid() -> None:
    study = read_study(TABLE2)
    sweep = yaml.safe_load(sweep_yaml(study, ["--config", "table2.yaml"]))
    assert sweep["parameters"]["cell"]["values"] == [cell.name for cell in study.cells]
    assert sweep["command"] == ["${env}", "kneeal", "study", "cell", "--config", "table2.yaml", "${args}"]
    assert (sweep["method"], sweep["project"]) == ("grid", "table2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no cell"),
        ({"index": 500}, "--index 500"),
        ({"name": "mi_mcd-cr-seed0"}, "did you mean 'mi_mcd-cr-seed"),
        ({"name": "a", "index": 0}, "a name and an index"),
    ],
)
def test_a_cell_that_is_not_there(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_single(read_study(TABLE2), **options)  # type: ignore[arg-type]


def test_what_the_agent_of_a_sweep_starts_is_logged_as_a_cell_of_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    monkeypatch.chdir(tmp_path)
    write_prepared(tmp_path / "data", table(60), pairs(120, 16), source="test", options={}, patch_px=16)
    file = tmp_path / "study.yaml"
    one = {"ENT-MCD + CR": {"active.strategy": "entropy_mcd", "loss.consistency": True}}
    file.write_text(yaml.safe_dump({"name": "grid", "base": "paper", "settings": one, "seeds": [3]}))
    quick = [*QUICK, "--set", "tracking.mode=offline", "--set", "compute.accelerator=cpu"]
    quick = [word for word in quick if word not in ("--accelerator", "cpu")]
    done("study", "sweep", "--config", file, "--data", tmp_path / "data", "--out", tmp_path / "runs", *quick)
    sweep = yaml.safe_load((tmp_path / "sweep.yaml").read_text())
    (name,) = sweep["parameters"]["cell"]["values"]
    words = create_sweep_command_args({"args": {"cell": {"value": name}}})["args"]
    command = [part for word in sweep["command"] for part in (words if word == "${args}" else [word])]
    assert command[:2] == ["${env}", "kneeal"]
    # A process of its own, as the agent starts it: W&B keeps what it read of these variables while a process lives.
    agent = {"WANDB_SWEEP_ID": "sw33p", "WANDB_RUN_ID": "agents01"}
    subprocess.run([sys.executable, "-m", *command[1:]], env=os.environ | agent, check=True, stdout=subprocess.DEVNULL)
    (log,) = (tmp_path / "runs" / name).glob("wandb/offline-run-*/*.wandb")
    records = read_finished(log)
    (run,) = [record.run for record in records if record.HasField("run")]
    assert (run.run_id, run.sweep_id) == ("agents01", "sw33p"), "the run that the agent waits for"
    assert (run.run_group, run.job_type, list(run.tags)) == (
        "ENT-MCD + CR",
        "study",
        ["entropy_mcd", "consistency", "seed3"],
    )
    rows = [
        {"/".join(item.nested_key) or item.key for item in r.history.item} for r in records if r.HasField("history")
    ]
    assert len(rows) == 3
    assert sweep["metric"]["name"] in rows[0]
