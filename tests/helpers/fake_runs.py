"""Run folders that no training made: learning curves of a known shape, for tests and for timing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from kneeal.loop.writer import RunWriter

PAPER = {
    "ENT-MCD": ("entropy_mcd", False, 0.52), "ENT-MCD + CR": ("entropy_mcd", True, 0.56),
    "MI-MCD": ("mi_mcd", False, 0.50), "MI-MCD + CR": ("mi_mcd", True, 0.52),
    "LC": ("least_confidence", False, 0.45), "LC + CR": ("least_confidence", True, 0.47),
    "ENT": ("entropy", False, 0.49), "ENT + CR": ("entropy", True, 0.50),
    "Random": ("random", False, 0.43),
}  # fmt: skip


def knee_ids(n: int, first: int) -> list[str]:
    return [f"{first + k // 2}_{'LR'[k % 2]}" for k in range(n)]


def write_run(
    path: Path,
    strategy: str,
    consistency: bool,
    seed: int,
    *,
    final: float = 0.5,
    n_rounds: int = 4,
    n_query: int = 50,
    n_test: int = 120,
    n_pool: int = 400,
    dataset: str = "one",
    first_test: int = 9_100_000,
    everything: bool = False,
    config: dict[str, Any] | None = None,
    data_dir: str | None = None,
) -> Path:
    rng = np.random.default_rng([seed, *strategy.encode(), consistency])
    test, pool = knee_ids(n_test, first_test), knee_ids(n_pool, 9_000_000)
    same = np.random.default_rng(0)
    kl_test, kl_pool = same.integers(0, 5, n_test), same.integers(0, 5, n_pool)
    kl_test[:5] = range(5)
    difficulty = same.random(n_test)
    n_rounds = 1 if everything else n_rounds
    first = np.random.default_rng(seed).permutation(n_pool)[: n_pool if everything else n_query]
    unlabeled = [k for k in range(n_pool) if k not in set(first.tolist())]
    budget = n_pool if everything else n_query * n_rounds
    tree: dict[str, Any] = {
        "seed": seed,
        "data": {"dir": data_dir},
        "active": {"strategy": strategy, "n_init": "all" if everything else n_query, "n_query": n_query,
                   "budget": "all" if everything else budget},
        # As on a frozen encoder, whose features stand still.
        "loss": {"consistency": consistency, "target": "logits" if consistency else "features"},
        "views": {"kept": 8 if consistency else 0},
        **(config or {}),
    }  # fmt: skip
    put(path / "config.yaml", yaml.safe_dump(tree))
    put(path / "run.json", json.dumps({"kneeal": "0", "dataset": dataset}))
    start = {"round": 0, "ids": [pool[k] for k in first], "pseudo": [], "scores": {}, "row": {}}
    put(path / "start/query.json", json.dumps(start))
    put(path / "start/answers.json", json.dumps({pool[k]: int(kl_pool[k]) for k in first}))
    rows = []
    for number in range(n_rounds):
        accuracy = final if n_rounds == 1 else 0.2 + (final - 0.2) * number / (n_rounds - 1)
        accuracy = float(np.clip(accuracy + rng.normal(0, 0.015), 0, 1))
        right = rng.normal(size=n_test) * 0.15 + difficulty < accuracy
        predicted = np.where(right, kl_test, (kl_test + 1 + rng.integers(0, 4, n_test)) % 5)
        spread = 0.15 if consistency else 0.4
        probs = rng.dirichlet(np.ones(5), n_test) * spread + (1 - spread) * np.eye(5)[predicted]
        uncertainty = -(probs * np.log(probs + 1e-12)).sum(1)
        shown = probs.argmax(1)
        confusion = np.zeros((5, 5), int)
        np.add.at(confusion, (kl_test, shown), 1)
        recalls = confusion.diagonal() / confusion.sum(1)
        lines = ["knee_id,kl,p0,p1,p2,p3,p4,uncertainty"]
        lines += [
            f"{i},{kl}," + ",".join(f"{p:.6g}" for p in row) + f",{u:.6g}"
            for i, kl, row, u in zip(test, kl_test, probs, uncertainty, strict=True)
        ]
        folder = path / "rounds" / f"{number:03d}"
        put(folder / "test_predictions.csv", "\n".join(lines) + "\n")
        asked = rng.permutation(unlabeled)[: 0 if number == n_rounds - 1 else n_query].tolist()
        unlabeled = [k for k in unlabeled if k not in set(asked)]
        scores = {pool[k]: round(float(s), 4) for k, s in zip(asked, -np.sort(-rng.random(len(asked))), strict=True)}
        query = {"round": number, "ids": [pool[k] for k in asked], "pseudo": [], "scores": scores, "row": {}}
        put(folder / "query.json", json.dumps(query))
        if asked:
            put(folder / "answers.json", json.dumps({pool[k]: int(kl_pool[k]) for k in asked}))
        rows.append(
            {
                "round": number, "n_labeled": len(first) + number * n_query, "n_pseudo": 0,
                "n_graded": len(first) + number * n_query + 80,
                "val_balanced_accuracy": float(recalls.mean()), "test_balanced_accuracy": float(recalls.mean()),
                "test_quadratic_kappa": float(recalls.mean()) / 2, "test_mae": float(np.abs(kl_test - shown).mean()),
                "test_ece": 0.1, "test_nll": 1.2, **{f"test_recall_{g}": recalls[g] for g in range(5)},
                "fit_seconds": 10.0 + number, "predict_seconds": 2.0, "select_seconds": 0.1,
            }
        )  # fmt: skip
        put(
            folder / "metrics.json", json.dumps({"row": rows[-1], "confusion": confusion.tolist(), "test_seconds": 1.0})
        )
    RunWriter(path).rebuild_rounds_csv()
    return path


def write_study(
    path: Path, seeds: int = 2, *, settings: dict[str, tuple[str, bool, float]] = PAPER, **options: Any
) -> Path:
    """A finished study with the baseline of all labels."""
    cells = {}
    for seed in range(seeds):
        for label, (strategy, consistency, final) in settings.items():
            name = f"{strategy}-{'cr' if consistency else 'naive'}-seed{seed}"
            write_run(path / name, strategy, consistency, seed, final=final, **options)
            cells[name] = {"setting": label, "seed": seed}
        name = f"full-seed{seed}"
        write_run(path / name, "random", False, seed, final=0.64, everything=True, **options)
        cells[name] = {"setting": "Full training set", "seed": seed}
    put(path / "study.json", json.dumps({"name": "fake", "cells": cells}))
    return path


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
