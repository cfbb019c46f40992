from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.commands import QUICK, done
from helpers.knees import pairs, table
from helpers.wandb_file import read_finished

from kneeal.data.prepared import write_prepared
from kneeal.errors import UserError
from kneeal.study.grid import read_study
from kneeal.study.local import run_single
from kneeal.study.workspace import make_workspace, save_workspace, sweep_yaml

pytest.importorskip("wandb_workspaces", reason="the extra kneeal[workspace] is not installed")

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
    assert {sweep["metric"]["name"], *panel_metrics(make_workspace(read_study(file), "team"))} <= rows[0]


def panel_metrics(workspace: Any) -> set[str]:
    return {metric for section in workspace.sections for panel in section.panels for metric in panel.y}


def test_a_workspace_has_the_mean_and_standard_error_of_each_setting() -> None:
    study = read_study(TABLE2)
    view = make_workspace(study, "team")._to_model().spec
    (runs,) = view.section.run_sets
    assert [(key.section, key.name) for key in runs.grouping] == [("run", "group")]
    panels = [panel for section in view.section.panel_bank_config.sections for panel in section.panels]
    made = next(panel.config for panel in panels if panel.config.metrics == ["test/balanced_accuracy"])
    assert (made.x_axis, made.group_by, made.group_agg, made.group_area) == ("al/n_labeled", "group", "mean", "stderr")
    assert (view.section.name, study.name) == ("", "table2")


def test_a_workspace_needs_a_key_and_one_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    with pytest.raises(UserError, match="no key for W&B"):
        save_workspace(read_study(TABLE2), "team")
    with pytest.raises(UserError, match="none in every cell"):
        make_workspace(read_study(TABLE2, settings=["tracking.mode=none"]), "team")
    with pytest.raises(UserError, match="3 W&B projects"):
        file = tmp_path / "study.yaml"
        cells = [{"seed": 8, "tracking.project": "a"}, {"seed": 9, "tracking.project": "b"}]
        file.write_text(yaml.safe_dump({"name": "s", "base": "paper", "cells": cells}))
        make_workspace(read_study(file), "team")


def test_a_workspace_that_is_refused_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)

    def refuse(self: Any) -> None:
        raise ValueError("permission denied")

    monkeypatch.setattr("wandb_workspaces.workspaces.Workspace.save", refuse)
    with pytest.raises(UserError, match="permission denied") as error:
        save_workspace(read_study(TABLE2), "team")
    assert "'table2' of 'team'" in str(error.value)
