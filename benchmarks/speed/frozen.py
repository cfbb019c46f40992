"""A round with a frozen encoder: fit and Monte-Carlo dropout over the pool, on activations that are kept."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from timing import Candidate, Row, Turn, ratio, take_turns
from torch import Tensor, nn
from torch.nn import functional as F

from kneeal.acquisition import Needs, Posterior
from kneeal.build.dataset import open_cohort
from kneeal.build.runner import plain_runner
from kneeal.build.start import make_start
from kneeal.config import resolve
from kneeal.data.prepared import write_prepared
from kneeal.pool import PoolState
from kneeal.training.lightning_runner import LightningRunner


def rows(
    *, n_knees: int = 5778, n_labeled: int = 400, n_samples: int = 50, rounds: int = 3, few: int = 64, size: int = 128
) -> list[Row]:
    """Against a plain loop over the same features, and against the same network that is not frozen.

    Args:
        n_knees: Knees of the data set, synthetic ones.
        n_labeled: Labels of the round, which is the middle one of the paper's.
        n_samples: Passes of Monte-Carlo dropout.
        rounds: Turns of each candidate.
        few: Knees predicted by the network that is not frozen; its time is scaled up to all.
        size: Side of a patch in px.
    """
    folder = Path(tempfile.mkdtemp(prefix="kneeal-bench-")) / "knees"
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"knee_id": f"{k}_L", "patient_id": str(k), "side": "L", "kl": str(k % 5), "site": "AB"[k == 0]}
        for k in range(n_knees)
    )
    patches = (rng.integers(0, 256, (2, size, size), dtype=np.uint8) for _ in range(n_knees))
    write_prepared(folder, table, patches, source="benchmark", options={}, patch_px=size)
    settings = [f"data.dir={folder}", "data.test_site=B", f"data.patch_size={size}", "compute.accelerator=cpu"]
    frozen = resolve("frozen", settings)
    cohort = open_cohort(frozen)
    ids = tuple(cohort.splits.train)
    labeled = {i: cohort.grades[i] for i in ids[:n_labeled]}
    start = make_start(frozen, cohort)
    features = start.knees.plain(start.knees.rows(ids), torch.device("cpu")).flatten(1)
    needs = Needs(Posterior.SAMPLES, n_samples)
    checkpoint = folder.parent / "best.ckpt"

    runner = plain_runner(frozen, cohort, start)

    def one_round() -> None:
        runner.fit(PoolState(labeled, pool), checkpoint, None)
        runner.predict(checkpoint, 0, pool, needs)

    model = frozen.model.model_copy(update={"freeze": "none"})

    def unfrozen(steps: int) -> LightningRunner:
        training = frozen.training.model_copy(update={"steps": steps, "batch_size": 32, "learning_rate": 1e-3})
        config = frozen.model_copy(update={"model": model, "training": training})
        return plain_runner(config, cohort, make_start(config, cohort))

    def fit(steps: int) -> Candidate:
        trained = unfrozen(steps)
        return lambda: trained.fit(PoolState(labeled, pool), checkpoint, None)

    pool = ids[n_labeled:]
    best = take_turns({"ours": one_round, "plain": _plain(features, labeled, n_samples)}, rounds=rounds)
    steps, more = frozen.training.steps or 1, 5
    predictor = unfrozen(1)
    slow = take_turns({"one": fit(1), "more": fit(more)}, rounds=rounds)  # the last fit leaves the checkpoint
    slow |= take_turns({"few": lambda: predictor.predict(checkpoint, 0, pool[:few], needs)}, rounds=rounds)

    def scaled(one: float, last: float, predicted: float) -> float:
        return steps * max(last - one, 0.0) / (more - 1) + len(pool) / few * predicted

    whole = Turn(*(scaled(*(getattr(slow[n], clock) for n in ("one", "more", "few"))) for clock in ("clock", "cpu")))
    figure = f"a round of {n_labeled} labels: {steps} steps and {n_samples} passes over {len(pool)} knees"
    ours = f"{best['ours'].clock:.2f} s"
    against = f"the network not frozen, from {more} steps of 32 labels and {few} knees: {whole.clock / 60:.1f} min"
    return [
        Row(
            figure,
            ours,
            f"plain loop on the same features: {best['plain'].clock:.2f} s",
            ratio(best["ours"], best["plain"]),
        ),
        Row(figure, ours, against, ratio(best["ours"], whole)),
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
