"""`kneeal pretrain` from a resolved configuration to a file of weights."""

import sys
from pathlib import Path

import torch

from kneeal.build.dataset import open_cohort
from kneeal.build.start import find_device, make_start
from kneeal.config import RunConfig
from kneeal.errors import UserError
from kneeal.files import check_new_file
from kneeal.jobs.process import keep_freed_memory
from kneeal.nn.backbones import check_side
from kneeal.nn.freezing import NONE
from kneeal.seeds import derive_seed
from kneeal.training.pretrain import make_objective, pretrain, write_weights


def run_pretrain(
    config: RunConfig, out: Path, *, method: str, epochs: int, batch_size: int, learning_rate: float
) -> None:
    """Train on the training knees of the split alone; test and validation knees stay unseen.

    Of the configuration, the network, views, data set and seed are used.
    """
    check_new_file(out)
    keep_freed_memory()
    torch.manual_seed(derive_seed(config.seed, "pretrain"))
    check_side(config.model.backbone, config.data.patch_size)
    cohort = open_cohort(config)
    start = make_start(config, cohort)
    if start.fixed_features:
        raise UserError(
            f"pretraining with model.freeze = {config.model.freeze}, which leaves nothing to train",
            f"{NONE}, or an earlier module of the backbone",
            f"set model.freeze={NONE}",
        )
    if config.model.freeze != NONE and config.views.kept < 2:
        raise UserError(
            f"pretraining on two views of each knee, which are the same with views.kept = {config.views.kept}",
            "at least 2",
            "set views.kept=8",
        )
    network = start.network()
    objective = make_objective(method, network.classifier.in_features)
    ids = tuple(cohort.splits.train)
    device = find_device(config.compute)
    print(f"{method} on {len(ids)} knees without grades, {epochs} epochs, on {device}", file=sys.stderr)

    pretrain(
        network,
        objective,
        start.knees,
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
