"""A round with a frozen encoder: fit and Monte-Carlo dropout over the pool, on activations that are kept."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from timing import Candidate, Row, ratio, take_turns
from torch import Tensor, nn
from torch.nn import functional as F

from kneeal.acquisition import Needs, Posterior
from kneeal.build.dataset import open_cohort
from kneeal.build.runner import plain_runner
from kneeal.build.start import make_start
from kneeal.config import RunConfig, resolve
from kneeal.data.prepared import write_prepared
from kneeal.pool import PoolState


def rows(
    *, n_knees: int = 5778, n_labeled: int = 400, n_samples: int = 50, rounds: int = 3, few: int = 64
) -> list[Row]:
    """Against a plain loop over the same features, and against the same network that is not frozen.

    Args:
        n_knees: Knees of the data set, synthetic ones.
        n_labeled: Labels of the round, which is the middle one of the paper's.
        n_samples: Passes of Monte-Carlo dropout.
        rounds: Turns of each candidate.
        few: Knees for the network that is not frozen, whose time is scaled up to all.
    """
    folder = Path(tempfile.mkdtemp(prefix="kneeal-bench-")) / "knees"
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"knee_id": f"{k}_L", "patient_id": str(k), "side": "L", "kl": str(k % 5), "site": "AB"[k == 0]}
        for k in range(n_knees)
    )
    # Random patches, and small ones: neither changes the number of activations.
    patches = (rng.integers(0, 256, (2, 32, 32), dtype=np.uint8) for _ in range(n_knees))
    write_prepared(folder, table, patches, source="benchmark", options={}, patch_px=32)
    settings = [f"data.dir={folder}", "data.test_site=B", "data.patch_size=32", "compute.accelerator=cpu"]
    frozen = resolve("frozen", settings)
    cohort = open_cohort(frozen)
    ids = tuple(cohort.splits.train)
    labeled = {i: cohort.grades[i] for i in ids[:n_labeled]}
    start = make_start(frozen, cohort)
    features = start.knees.plain(start.knees.rows(ids), torch.device("cpu")).flatten(1)
    needs = Needs(Posterior.SAMPLES, n_samples)
    checkpoint = folder.parent / "best.ckpt"

    def one_round(config: RunConfig, pool: tuple[str, ...]) -> Candidate:
        runner = plain_runner(config, cohort, start if config is frozen else make_start(config, cohort))

        def work() -> None:
            runner.fit(PoolState(labeled, pool), checkpoint, None)
            runner.predict(checkpoint, 0, pool, needs)

        return work

    trained = frozen.model_copy(update={"model": frozen.model.model_copy(update={"freeze": "none"})})
    pool = ids[n_labeled:]
    best = take_turns({"ours": one_round(frozen, pool), "plain": _plain(features, labeled, n_samples)}, rounds=rounds)
    steps = frozen.training.steps or 1
    one_step = {"steps": 1, "batch_size": 32, "learning_rate": 1e-3}
    short = trained.model_copy(update={"training": trained.training.model_copy(update=one_step)})
    slow = take_turns({"not frozen": one_round(short, pool[:few])}, rounds=1)["not frozen"]
    figure = f"a round of {n_labeled} labels: {steps} steps and {n_samples} passes over {len(pool)} knees"
    ours = f"{best['ours'].clock:.2f} s"
    return [
        Row(
            figure,
            ours,
            f"plain loop on the same features: {best['plain'].clock:.2f} s",
            ratio(best["ours"], best["plain"]),
        ),
        Row(
            f"{figure}, frozen",
            ours,
            f"not frozen, 1 step of 32 labels and {n_samples} passes over {few} knees alone: {slow.clock:.2f} s",
        ),
    ]


def _plain(features: Tensor, labeled: dict[str, int], n_samples: int) -> Candidate:
    """What one writes without kneeal: features in memory, a linear layer, dropout drawn anew in each pass."""
    kl, n = torch.tensor(list(labeled.values())), len(labeled)
    x = (features - features.mean(0)) / (features.std(0) + 1e-6) / features.shape[1] ** 0.5
    above = (kl[:, None] > torch.arange(4)).float()

    def work() -> None:
        torch.manual_seed(0)
        layer = nn.Linear(x.shape[1], 4)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.1, weight_decay=1 / n)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200)
        for _ in range(200):
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(layer(F.dropout(x[:n], 0.3)), above).backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            torch.stack([layer(F.dropout(x[n:], 0.3)) for _ in range(n_samples)], dim=1)

    return work
