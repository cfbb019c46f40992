"""What chooses the epoch, from the settings to what a run says about the grades it used."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from helpers.commands import QUICK, done, kneeal, refused

from kneeal.exchange.model_file import read_model


@pytest.mark.parametrize("mode", ["free", "budget", "none"])
def test_a_run_says_which_grades_it_used(mode: str, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["--set", f"data.validation={mode}", "--set", "active.budget=10", "--set", "training.epochs=2"]
    result = kneeal("fit", "--strategy", "mi_mcd", "--data", data, "--out", run, *QUICK, *options)
    assert result.returncode == 0, result.stderr
    said = json.loads((run / "run.json").read_text())
    assert said["validation"] == mode
    free = said["free_grades"]
    assert (free > 0) == (mode == "free")
    words = {"free": f"the best on {free} validation knees", "budget": "a share of 0.2", "none": "no grades are spent"}
    assert words[mode] in " ".join(result.stderr.split())
    with (run / "rounds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["n_labeled"], row["n_graded"]) for row in rows] == [("6", str(6 + free)), ("10", str(10 + free))]
    assert all(("val_balanced_accuracy" in row) == (mode != "none") for row in rows)
    assert "graded" in result.stdout
    done("fit", "--strategy", "mi_mcd", "--data", data, "--out", run, *QUICK, *options, "--resume")
    done("export", run, "--out", tmp_path / "m.safetensors", "--samples", "2")
    threshold = read_model(tmp_path / "m.safetensors")[1].threshold
    assert threshold.uncertainty > 0
    assert (threshold.n_val > 0) == (mode != "none") == (not math.isnan(threshold.accuracy_left))


def test_what_cannot_be_validated_is_refused(data: Path, tmp_path: Path) -> None:
    def fit(*settings: str) -> list[str | Path]:
        options = [text for setting in settings for text in ("--set", setting)]
        return ["fit", "--strategy", "mi_mcd", "--data", data, "--out", tmp_path / "run", *QUICK, *options]

    refused(kneeal(*fit("data.validation=budget", "active.n_init=4")), "active.n_init=5")
    refused(kneeal(*fit("data.validation=budget", "training.epochs=1")), "training.epochs=10")
    refused(kneeal(*fit("data.validation=budget", "training.epochs=3", "training.validate_every=2")), "epochs=20")
    refused(kneeal(*fit("data.validation=none", "active.stop_when=gain")), "data.validation=budget")
    assert not (tmp_path / "run").exists()
