"""Every value of every choice through the command line: a run, or one message and status 2, never a traceback.

The choices are read from the settings and the registries, so a new value is tried by itself. Those that get along with
all others are combined, one value of each in a run; the rest are tried one by one.
"""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from helpers.commands import done, kneeal, refused
from helpers.knees import table
from pydantic import BaseModel

from kneeal import acquisition
from kneeal.acquisition import Posterior, constraints
from kneeal.config import resolve
from kneeal.data.prepared import write_prepared
from kneeal.nn import ssl
from kneeal.nn.heads import HEADS
from kneeal.settings import RunConfig
from kneeal.training import posteriors, pretrain

#: Two rounds of a network that trains in a moment.
BASE: dict[str, Any] = {
    "data.patch_size": 16,
    "model.width": 1,
    "training.epochs": 2,
    "training.milestones": [1],
    "training.batch_size": 8,
    "training.eval_batch_size": 64,
    "views.kept": 2,
    "posterior.members": 2,
    "active.n_init": 10,
    "active.n_query": 4,
    "active.budget": 14,
    "tracking.mode": "none",
    "compute.accelerator": "cpu",
}
STRATEGIES = acquisition.available()
#: Those whose score can choose the pseudo pool, and those that can make the first query.
UNCERTAIN = [name for name in STRATEGIES if acquisition.get(name).scores_uncertainty]
UNTRAINED = [name for name in STRATEGIES if acquisition.get(name).posterior is Posterior.NONE]
#: Choices whose values are names in a registry.
REGISTERED: dict[str, list[Any]] = {
    "active.strategy": list(STRATEGIES),
    "active.pseudo_by": list(STRATEGIES),
    "active.first_query": list(STRATEGIES),
    "loss.method": list(ssl.available()),
    "posterior.method": list(posteriors.available()),
}
#: What a choice is tried with where it is tried alone.
SAMPLED: dict[str, Any] = {"active.strategy": "entropy_mcd", "active.options": {"n_samples": 2}}
#: A network for each library, and each way to freeze one.
NETWORKS: list[dict[str, Any]] = [
    {"model.freeze": "group1"},
    {"model.freeze": "all", "loss.target": "logits"},
    {"model.backbone": "knee_encoder", "model.freeze": "all", "loss.target": "logits"},
    {"model.backbone": "resnet18", "data.patch_size": 32},
    {"model.backbone": "timm:resnet10t", "model.freeze": "all", "loss.target": "logits", "data.patch_size": 32},
]
#: Each constraint with options; a new one needs a line here.
CONSTRAINTS: dict[str, dict[str, Any]] = {
    "max_per_group": {"by": "patient_id", "max_knees": 1},
    "share_per_group": {"by": "site"},
    "exclude": {"by": "side", "values": ["L"]},
    "subsample": {"max_knees": 20},
    "mix": {"strategy": "random", "share": 0.5},
}
#: What a choice needs beside it to mean something.
WITH: dict[str, dict[str, Any]] = {
    "active.first_features": {"active.first_query": "kmeans", "model.backbone": "knee_encoder"},
    "active.n_init": {"active.budget": "all"},
    "active.budget": {"active.n_query": 21},
    "tracking.knees": {"tracking.mode": "offline"},
}
#: Values that may be refused: this machine has no such thing, or it makes no sense with the rest.
REFUSED: dict[str, list[Any]] = {
    "active.first_query": [name for name in STRATEGIES if name not in UNTRAINED],
    "active.pseudo_by": [name for name in STRATEGIES if name not in UNCERTAIN],
    "compute.accelerator": ["gpu", "mps"],
    "compute.precision": ["16-mixed"],
    "posterior.method": ["laplace"],
}
#: Tried one by one, since some of their values exclude some of others' values.
ALONE = {
    "active.budget",
    "active.first_features",
    "active.n_init",
    "active.stop_when",
    "compute.compile",
    "loss.consistency",
    "posterior.method",
    "tracking.knees",
    "tracking.mode",
}


def literal_values(annotation: Any) -> list[Any]:
    """The values of a choice; none for a setting of another kind."""
    if annotation is bool:
        return [True, False]
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    found = [value for part in get_args(annotation) for value in literal_values(part)]
    return [*found, None] if found and type(None) in get_args(annotation) else found


def choices(section: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Every choice with its values."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from choices(kind, f"{prefix}{name}.")
        elif values := REGISTERED.get(f"{prefix}{name}") or literal_values(kind):
            yield f"{prefix}{name}", values


CHOICES = dict(choices())
TOGETHER = {
    key: [value for value in values if value not in REFUSED.get(key, [])]
    for key, values in CHOICES.items()
    if key not in ALONE
}
#: Each choice begins at another of its values, so that choices with equally many values do not go in step.
ROWS = [
    {key: values[(k + start) % len(values)] for start, (key, values) in enumerate(TOGETHER.items())}
    for k in range(max(map(len, TOGETHER.values())))
]
SINGLES = [(key, value) for key in sorted(ALONE) for value in CHOICES[key]]
SINGLES += [(key, value) for key, values in REFUSED.items() if key not in ALONE for value in values]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "knees"
    frame = table(40)
    noise = torch.randint(0, 256, (len(frame), 2, 128, 128), generator=torch.Generator().manual_seed(0))
    write_prepared(path, frame, noise.byte().numpy(), source="test", options={})
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figures, which depend on no choice, and nothing compiled, which takes a minute."""
    monkeypatch.setattr("kneeal.jobs.fit.draw_run_figures", lambda run, out, pool: [])
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")


def fit(data: Path, run: Path, settings: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    return kneeal(
        "fit", "--data", data, "--out", run, *(f"--set={k}={json.dumps(v)}" for k, v in (BASE | settings).items())
    )


def check(result: subprocess.CompletedProcess[str], run: Path) -> None:
    """A run of at least two rounds that asked for what it was to ask for."""
    assert result.returncode == 0, result.stderr
    with (run / "rounds.csv").open() as file:
        labels = [int(row["n_labeled"]) for row in csv.DictReader(file)]
    asked = [json.loads(path.read_text())["ids"] for path in sorted(run.glob("**/query.json"))]
    assert sum(map(len, asked)) == labels[-1] == len({i for ids in asked for i in ids})


def test_every_choice_is_tried() -> None:
    for key, values in CHOICES.items():
        tried = [row[key] for row in ROWS if key in row] + [value for k, value in SINGLES if k == key]
        assert all(value in tried for value in values), key
    assert set(CHOICES["model.head"]) == set(HEADS)
    assert set(CONSTRAINTS) == {*constraints.CONSTRAINTS.names(), "mix"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["active.strategy"])
def test_choices_that_get_along(data: Path, tmp_path: Path, row: dict[str, Any]) -> None:
    more = {"loss.consistency": True, "active.first_features": "pixels"}
    check(fit(data, tmp_path / "run", row | more), tmp_path / "run")


@pytest.mark.parametrize(("key", "value"), SINGLES, ids=str)
def test_choices_one_by_one(data: Path, tmp_path: Path, key: str, value: Any) -> None:
    run = tmp_path / "run"
    result = fit(data, run, {**SAMPLED, **WITH.get(key, {}), key: value})
    if value in REFUSED.get(key, []) and result.returncode:
        refused(result, value)
        assert not run.exists()
    else:
        check(result, run)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_defaults_suit_every_strategy(strategy: str) -> None:
    config = resolve(None, [f"active.strategy={strategy}"])
    assert config.loss.consistency == (strategy in UNCERTAIN)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: "-".join(map(str, network.values())))
def test_networks(data: Path, tmp_path: Path, network: dict[str, Any]) -> None:
    if network.get("model.backbone", "").startswith("timm"):
        pytest.importorskip("timm")
    check(fit(data, tmp_path / "run", SAMPLED | network), tmp_path / "run")


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints(data: Path, tmp_path: Path, name: str) -> None:
    listed = [{"name": name, **CONSTRAINTS[name]}]
    check(fit(data, tmp_path / "run", SAMPLED | {"active.constraints": listed}), tmp_path / "run")


@pytest.mark.parametrize("method", pretrain.OBJECTIVES.names())
def test_pretraining(data: Path, tmp_path: Path, method: str) -> None:
    pytest.importorskip("lightly")
    small = [f"--set={key}={BASE[key]}" for key in ("data.patch_size", "model.width", "compute.accelerator")]
    done("pretrain", "--data", data, "--out", tmp_path / "start.ckpt", "--method", method, "--epochs", "1", *small)
