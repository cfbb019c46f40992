"""Every head and every balance with every posterior and semi-supervised method, to a model file and its predictions."""

from __future__ import annotations

import csv
from itertools import cycle
from pathlib import Path

import pytest
from helpers.commands import QUICK, done

from kneeal.nn import ssl
from kneeal.training import posteriors

PARTS = [("posterior.method", name) for name in posteriors.available() if name != "laplace"]
PARTS += [("loss.method", name) for name in ssl.available()]


@pytest.mark.parametrize("head", ["corn", "cumulative"])
@pytest.mark.parametrize(
    ("part", "balance"), list(zip(PARTS, cycle(["weights", "batches"]))), ids=lambda part: part[1] if part[1:] else part
)
def test_a_run(head: str, part: tuple[str, str], balance: str, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = {"model.head": head, "loss.balance": balance, "posterior.members": "2", "active.budget": "10"}
    settings[part[0]] = part[1]
    options = [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]
    done("fit", "--strategy", "entropy_mcd", "--data", data, "--out", run, *QUICK, *options)
    with (run / "rounds/001/test_predictions.csv").open() as file:
        for row in csv.DictReader(file):
            assert sum(float(row[f"p{grade}"]) for grade in range(5)) == pytest.approx(1, abs=1e-4)
            assert 0 <= float(row["uncertainty"]) <= 1.61
    if part[1] in ("mcd", "consistency"):
        done("export", run, "--out", tmp_path / "m.safetensors", "--samples", "2")
        done("predict", tmp_path / "m.safetensors", "--data", data, "--out", tmp_path / "predictions")
        assert len((tmp_path / "predictions/predictions.csv").read_text().splitlines()) == 121
