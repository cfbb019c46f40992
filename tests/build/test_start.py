"""Runs with a frozen part: the same numbers whether activations are kept or not, and starts from exported models."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import QUICK, done, kneeal, refused
from helpers.knees import table

from kneeal.acquisition import Needs, Posterior
from kneeal.build import start
from kneeal.build.dataset import open_cohort
from kneeal.build.network import make_network
from kneeal.build.runner import plain_runner
from kneeal.config import validate
from kneeal.data.activations import view_seed
from kneeal.data.prepared import write_prepared
from kneeal.nn import ssl
from kneeal.nn.heads import HEADS
from kneeal.pool import PoolState
from kneeal.training import posteriors

FROZEN = [*QUICK, "--set", "model.freeze=all", "--set", "views.kept=3", "--seed", "1"]
STRATEGY = ("--strategy", "entropy_mcd")


class NotKept:
    """The same finite set of views, encoded for every batch anew."""

    batch_size = 1

    def __init__(self, source: Any, row: dict[str, int], encode: Callable[..., Any], **options: Any) -> None:
        self.source, self.row, self.encode, self.n_views = source, row, encode, options["n_views"]
        self.ids = sorted(row, key=row.__getitem__)

    def rows(self, ids: Sequence[str], device: torch.device | None = None) -> torch.Tensor:
        return torch.tensor([self.row[i] for i in ids])

    def plain(self, rows: torch.Tensor, device: torch.device) -> torch.Tensor:
        return self.encode(self.source.plain(self.found(rows), device)).half().float()

    def views(self, rows: torch.Tensor, seeds: torch.Tensor, device: torch.device) -> torch.Tensor:
        first = torch.tensor([view_seed(self.ids[row]) for row in rows.tolist()])
        return self.encode(self.source.views(self.found(rows), first + seeds % 3, device)).half().float()

    def found(self, rows: torch.Tensor) -> torch.Tensor:
        return self.source.rows([self.ids[row] for row in rows.tolist()])


def results(run: Path) -> dict[str, np.ndarray]:
    """Numbers of every score and test prediction, and the queries in their order."""
    found: dict[str, np.ndarray] = {}
    for path in sorted(run.glob("rounds/*/*.csv")):
        rows = list(csv.DictReader(path.read_text().splitlines()))
        numbers = [[float(v) for k, v in row.items() if k not in ("knee_id", "role") and v] for row in rows]
        found[f"{path.parent.name}/{path.name}"] = np.array(numbers)
        if "role" in rows[0]:
            found[f"query of {path.parent.name}"] = np.array(sorted(r["knee_id"] for r in rows if r["role"]))
    return found


@pytest.mark.parametrize("extra", [["--no-ssl"], ["--ssl", "--set", "model.freeze=group2"]])
def test_kept_activations_change_no_number(
    data: Path, tmp_path: Path, extra: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("kept", "not kept", "kept again"):
        with monkeypatch.context() as patch:
            if name == "not kept":
                patch.setattr(start, "Activations", NotKept)
            done("fit", *STRATEGY, "--data", data, "--out", tmp_path / name, *FROZEN, *extra)
    kept, fresh, again = (results(tmp_path / name) for name in ("kept", "not kept", "kept again"))
    assert kept.keys() == fresh.keys() and len(kept) > 6
    for name in kept:
        assert np.array_equal(again[name], kept[name])
        if kept[name].dtype.kind == "f":
            np.testing.assert_allclose(fresh[name], kept[name], rtol=1e-4, atol=1e-5)
        else:
            assert np.array_equal(fresh[name], kept[name])


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("method", ssl.available())
def test_kept_activations_change_no_number_of_any_head_and_method(
    data: Path, tmp_path: Path, head: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = validate(
        {
            "data": {"dir": str(data), "patch_size": 8, "validation": "none"},
            "model": {"width": 1, "freeze": "all", "head": head},
            "views": {"kept": 3},
            "loss": {"method": method, "target": "logits", "balance": "weights"},
            "training": {"epochs": 1, "steps": 3, "batch_size": 8, "learning_rate": 0.01},
            "compute": {"accelerator": "cpu"},
        }
    )
    cohort = open_cohort(config)
    graded, rest = cohort.splits.train[:12], cohort.splits.train[12:]
    state = PoolState({i: cohort.grades[i] for i in graded}, rest, pseudo=rest[:12])

    def fit(name: str) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        runner = plain_runner(config, cohort, start.make_start(config, cohort))
        checkpoint = tmp_path / name / "best.ckpt"
        checkpoint.parent.mkdir()
        runner.fit(state, checkpoint, None)
        found = runner.predict(checkpoint, 0, rest, Needs(Posterior.SAMPLES, 2)).require_log_probs()
        return torch.load(checkpoint, weights_only=True)["state_dict"], found

    kept = fit("kept")
    monkeypatch.setattr(start, "Activations", NotKept)
    fresh = fit("fresh")
    for name, weight in kept[0].items():
        torch.testing.assert_close(fresh[0][name], weight, rtol=0, atol=0)
    torch.testing.assert_close(fresh[1], kept[1], rtol=0, atol=0)


def test_patches_that_were_edited_in_place_are_encoded_again_and_said(data: Path, tmp_path: Path) -> None:
    knees = tmp_path / "knees"
    shutil.copytree(data, knees, ignore=shutil.ignore_patterns("activations"))

    def fit(name: str) -> tuple[dict[str, np.ndarray], str]:
        result = kneeal("fit", *STRATEGY, "--no-ssl", "--data", knees, "--out", tmp_path / name, *FROZEN)
        assert result.returncode == 0, result.stderr
        return results(tmp_path / name), result.stderr

    _, said = fit("prepared")
    assert "patches.npy" not in said
    before = (knees / "patches.npy").stat()
    patches = np.load(knees / "patches.npy", mmap_mode="r+")
    patches[:] = 255 - patches
    patches.flush()
    os.utime(knees / "patches.npy", ns=(before.st_atime_ns, before.st_mtime_ns))
    edited, said = fit("edited")
    assert "patches.npy is not the file that was prepared" in said
    shutil.rmtree(knees / "activations")
    fresh, said = fit("fresh")
    assert "patches.npy is not the file that was prepared" in said
    assert edited.keys() == fresh.keys() and all(np.array_equal(edited[name], fresh[name]) for name in fresh)


def by_knee(run: Path, name: str) -> dict[str, dict[str, list[float]]]:
    """The numbers of each knee in the files of that name, round by round."""
    return {
        path.parent.name: {
            row["knee_id"]: [float(v) for k, v in row.items() if k not in ("knee_id", "role") and v]
            for row in csv.DictReader(path.read_text().splitlines())
        }
        for path in sorted(run.glob(f"rounds/*/{name}.csv"))
    }


@pytest.mark.parametrize("strategy", ["entropy_mcd", "max_herding"])
def test_the_order_of_the_manifest_changes_nothing(
    tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "_MEASURED", 20)  # as in a pool of more than 5,000 knees
    knees, patches = table(40), np.random.default_rng(0).integers(0, 256, (80, 2, 16, 16), np.uint8)
    orders = {"a": np.arange(80), "b": np.random.default_rng(1).permutation(80)}
    runs = [tmp_path / f"run {name}" for name in orders]
    options = (
        FROZEN
        if strategy == "entropy_mcd"
        else [a.replace("active.options.n_samples=2", "views.kept=3") for a in FROZEN]
    )
    for (name, order), run in zip(orders.items(), runs, strict=True):
        rows = knees.iloc[order].reset_index(drop=True)
        write_prepared(tmp_path / name, rows, patches[order], source="test", options={}, patch_px=16)
        done("fit", "--strategy", strategy, "--no-ssl", "--data", tmp_path / name, "--out", run, *options)
    queries = [[json.loads(p.read_text())["ids"] for p in sorted(run.glob("rounds/*/query.json"))] for run in runs]
    assert queries[0] == queries[1] and len(queries[0]) == 3
    for file in ("scores", "test_predictions"):
        first, second = (by_knee(run, file) for run in runs)
        assert first.keys() == second.keys() and first
        for number, found in first.items():
            assert found.keys() == second[number].keys() and found
            for knee, values in found.items():
                assert second[number][knee] == pytest.approx(values, abs=1e-5)


def test_checkpoints_hold_what_is_trained_and_resume_refuses_another_encoder(data: Path, tmp_path: Path) -> None:
    weights = make_network(validate({"model": {"width": 1}}))
    for name in ("a.ckpt", "b.ckpt"):
        torch.save({"state_dict": {f"network.{n}": w for n, w in weights.state_dict().items()}}, tmp_path / name)
        with torch.no_grad():
            for weight in weights.parameters():
                weight.mul_(2.0)
    run, init = tmp_path / "run", tmp_path / "init.ckpt"
    init.write_bytes((tmp_path / "a.ckpt").read_bytes())
    arguments = ("fit", *STRATEGY, "--no-ssl", "--data", data, "--out", run, *FROZEN, "--init", init)
    done(*arguments)
    checkpoint = torch.load(run / "rounds" / "000" / "best.ckpt", weights_only=True)["state_dict"]
    assert not any(name.startswith("network.branch") for name in checkpoint)
    (run / "rounds" / "002" / "query.json").unlink()
    (run / "rounds" / "002" / "metrics.json").unlink()
    init.write_bytes((tmp_path / "b.ckpt").read_bytes())
    refused(kneeal("export", run, "--out", tmp_path / "m.safetensors"), "another frozen encoder", "weight files")


def test_a_run_starts_from_an_exported_model(data: Path, tmp_path: Path) -> None:
    first, model = tmp_path / "first", tmp_path / "m.safetensors"
    done("fit", *STRATEGY, "--no-ssl", "--data", data, "--out", first, *FROZEN)
    done("export", first, "--out", model)
    config = {"model": {"width": 1, "freeze": "all"}, "data": {"patch_size": 8}, "training": {"init": str(model)}}
    again = make_network(validate(config))
    trained = torch.load(sorted(first.glob("rounds/*/best.ckpt"))[-1], weights_only=True)["state_dict"]
    assert again.head_loaded
    assert torch.equal(again.classifier.weight, trained["network.classifier.weight"])
    assert torch.equal(again.standardize.mean, trained["network.standardize.mean"])
    # Another data set has another exposure: its own features are standardized.
    other = tmp_path / "other"
    done("demo-data", "--out", other, "--knees", "60", "--seed", "7")
    adapted = validate({**config, "data": {"dir": str(other), "patch_size": 8}, "views": {"kept": 0}})
    cohort = open_cohort(adapted)
    begin = start.make_start(adapted, cohort)
    network, rows = begin.network(), begin.knees.rows(cohort.splits.train)
    standard = network.standardize(begin.knees.plain(rows, torch.device("cpu")).flatten(1))
    torch.testing.assert_close(standard.mean(0), torch.zeros(standard.shape[1]), atol=1e-4, rtol=0)
    assert torch.equal(network.classifier.weight, again.classifier.weight)
    assert torch.equal(network.prior_center["classifier.weight"], again.classifier.weight)
    # Another head takes the branch alone, and the run says so.
    other = make_network(validate({**config, "model": {**config["model"], "head": "corn"}}))
    assert not other.head_loaded and other.encoder.checksum() == again.encoder.checksum()
    settings = ["--init", model, "--set", "model.head=corn"]
    result = kneeal("fit", *STRATEGY, "--no-ssl", "--data", data, "--out", tmp_path / "second", *FROZEN, *settings)
    assert result.returncode == 0 and "gives the backbone alone" in result.stderr
    refused(
        kneeal("fit", "--data", data, "--out", tmp_path / "third", *FROZEN, *settings, "--set", "model.width=2"),
        "holds no weights for this branch", "model.width=1",
    )  # fmt: skip
    refused(
        kneeal("fit", "--data", data, "--out", tmp_path / "third", *FROZEN, *settings, "--set", "data.patch_size=16"),
        "patches of 8 px", "data.patch_size=8",
    )  # fmt: skip
    done("predict", model, "--data", data, "--out", tmp_path / "predictions")


@pytest.mark.parametrize(
    ("settings", "messages"),
    [
        (["model.freeze=group9"], ["group9", "group1, group2, group3"]),
        (["views.kept=65537"], ["views.kept", "65536"]),
        (["model.weights=default"], ["model.weights = default", "vgg_like"]),
        (["posterior.method=tta", "active.options.n_samples=4"], ["views.kept = 3", "raise views.kept to 4"]),
    ],
)
def test_settings_that_do_not_go_with_a_frozen_part(
    data: Path, tmp_path: Path, settings: list[str], messages: list[str]
) -> None:
    given = [part for setting in settings for part in ("--set", setting)]
    result = kneeal("fit", *STRATEGY, "--no-ssl", "--data", data, "--out", tmp_path / "run", *FROZEN, *given)
    refused(result, *messages)


@pytest.mark.parametrize(
    ("settings", "messages", "cure"),
    [
        ([], ["features that model.freeze = all leaves"], ["loss.target=logits"]),
        (["loss.options={target: features}"], ["features that"], ["loss.options.target=logits"]),
        (["posterior.method=ensemble", "posterior.members=2"], ["features that"], ["loss.target=probabilities"]),
        (["views.kept=0"], ["features that", "views.kept = 0"], ["loss.target=logits", "views.kept=8"]),
        (["views.kept=1", "loss.method=pi_model"], ["views.kept = 1"], ["views.kept=2"]),
        (["views.kept=1", "loss.method=fixmatch", "model.freeze=group2"], ["views.kept = 1"], ["--no-ssl"]),
        (["views.kept=0", "loss.method=fixmatch"], ["views.kept = 0"], ["loss.method=pseudo_label"]),
        (
            ["views.kept=0", "loss.method=semixup", "loss.options={interpolation: 0}"],
            ["views.kept = 0"],
            ["loss.options={}"],
        ),
    ],
)
def test_a_second_term_that_nothing_can_lower_is_refused(
    data: Path, tmp_path: Path, settings: list[str], messages: list[str], cure: list[str]
) -> None:
    def fit(*more: str) -> subprocess.CompletedProcess[str]:
        given = [part for s in more for part in ([s] if s.startswith("--") else ["--set", s])]
        return kneeal("fit", *STRATEGY, "--ssl", "--data", data, "--out", tmp_path / "run", *FROZEN, *given)

    refused(fit(*settings), *messages)
    assert not (tmp_path / "run").exists()
    result = fit(*settings, *cure)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", [name for name in posteriors.available() if name != "laplace"])
def test_every_posterior_trains_a_head_alone_with_a_high_learning_rate(data: Path, tmp_path: Path, name: str) -> None:
    given = ("--set", f"posterior.method={name}", "--set", "training.learning_rate=0.1")
    done("ask", tmp_path / "run", *STRATEGY, "--no-ssl", "--config", "paper", "--data", data, *FROZEN, *given)


def test_the_first_query_uses_features_of_the_encoder_that_ships(data: Path, tmp_path: Path) -> None:
    settings = ["model.backbone=knee_encoder", "active.first_query=typiclust"]
    given = [part for setting in settings for part in ("--set", setting)]
    done("ask", tmp_path / "run", *STRATEGY, "--no-ssl", "--data", data, *FROZEN, *given)
    assert len(list((data / "activations").glob("*/plain.f16"))) >= 1


def test_pretraining_trains_what_is_not_frozen(data: Path, tmp_path: Path) -> None:
    small = [*QUICK[:8], "--accelerator", "cpu", "--data", data, "--epochs", "1"]
    refused(kneeal("pretrain", *small, "--out", tmp_path / "a", "--set", "model.freeze=all"), "nothing to train")
    same = ["--set", "model.freeze=group1", "--set", "views.kept=1"]
    refused(kneeal("pretrain", *small, "--out", tmp_path / "a", *same), "views.kept = 1")
    pytest.importorskip("lightly")
    done(
        "pretrain", *small, "--out", tmp_path / "b.ckpt", "--set", "model.freeze=group1", "--set", "data.patch_size=16"
    )
    make_network(validate({"model": {"width": 1}, "training": {"init": str(tmp_path / "b.ckpt")}}))
