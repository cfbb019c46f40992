"""`kneeal pretrain` from a resolved configuration to a file of weights."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from kneeal.build.dataset import open_cohort
from kneeal.build.network import make_network
from kneeal.config import RunConfig
from kneeal.data.batches import PatchSource
from kneeal.data.device_views import DeviceViews
from kneeal.data.store import PatchStore, StoredPatches
from kneeal.errors import UserError
from kneeal.jobs.process import keep_freed_memory
from kneeal.nn.backbones import check_side
from kneeal.seeds import derive_seed
from kneeal.training.objectives import make_objective
from kneeal.training.pretrain import pretrain, write_weights


def run_pretrain(
    config: RunConfig, out: Path, *, method: str, epochs: int, batch_size: int, learning_rate: float
) -> None:
    """Train on the training knees of the split alone; test and validation knees stay unseen.

    Args:
        config: The resolved configuration; its network, views, data set and seed are used.
        out: The file.
        method: See `make_objective`.
        epochs: How often each knee is seen.
        batch_size: Knees per step.
        learning_rate: Initial learning rate of Adam.

    Raises:
        UserError: The settings or the data set are wrong, lightly is not installed, or the file is there.
    """
    if out.exists():
        raise UserError(f"{out} already exists", "a new file", "give another --out, or remove it first")
    keep_freed_memory()
    torch.manual_seed(derive_seed(config.seed, "pretrain"))
    check_side(config.model.backbone, config.data.patch_size)
    network = make_network(config)
    objective = make_objective(method, network.classifier.in_features)
    cohort = open_cohort(config)
    ids = tuple(cohort.splits.train)
    size, device = config.data.patch_size, _device(config.compute.accelerator)
    print(f"{method} on {len(ids)} knees without grades, {epochs} epochs, on {device}", file=sys.stderr)

    pretrain(
        network,
        objective,
        PatchSource(
            PatchStore(StoredPatches(cohort.dataset.patches, cohort.dataset.row), size),
            DeviceViews(size, **config.views.model_dump(exclude={"where"})),
        ),
        ids,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=config.seed,
        device=device,
        on_epoch=lambda epoch, loss: print(f"epoch {epoch + 1}/{epochs}: loss {loss:.4f}", file=sys.stderr),
    )
    write_weights(network, out)
    print(f"weights: {out}")


def _device(accelerator: str) -> str:
    has = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if accelerator == "auto":
        accelerator = next(name for name in ("gpu", "mps", "cpu") if has[name])
    if not has[accelerator]:
        raise UserError(f"no {accelerator} on this machine", "an available device", "choose --accelerator cpu")
    return "cuda" if accelerator == "gpu" else accelerator
