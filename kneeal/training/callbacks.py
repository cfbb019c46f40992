"""Callbacks of the Trainer: keep the best weights, collect predictions, report progress."""

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from kneeal.loop.events import FitProgress
from kneeal.training.learner import ACCURACY, LOSS, Learner


class BestEpoch(Callback):
    """Keeps the weights of the best validated epoch in a file.

    The best epoch has the highest balanced accuracy; ties go to the lowest validation loss, then to the latest epoch.
    Early epochs are often all at chance, where the loss shows which has learned more. Without validation, the last
    epoch is kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.accuracy: float | None = None  #: Balanced accuracy of that epoch; None before the first.
        self._best = (-math.inf, -math.inf)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the weights if they are the best so far."""
        accuracy, loss = (float(trainer.callback_metrics[name]) for name in (ACCURACY, LOSS))
        found = (accuracy, -math.inf if math.isnan(loss) else -loss)
        if found >= self._best:
            self._best, self.accuracy = found, accuracy
            trainer.save_checkpoint(self.path, weights_only=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the last weights if no epoch was validated."""
        if self.accuracy is None:
            trainer.save_checkpoint(self.path, weights_only=True)


class EpochReports(Callback):
    """Report each epoch."""

    def __init__(self, progress: FitProgress) -> None:
        self.progress = progress

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report the number of epochs after the first step, which loads what a process needs once."""
        if batch_idx == trainer.current_epoch == 0:
            self.progress.begin("fit", trainer.max_epochs or 0, "epochs")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report loss and validation metrics."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if isinstance(pl_module, Learner):
            metrics["train/loss"] = pl_module.epoch_loss
        self.progress.advance(1, metrics)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the end."""
        self.progress.end()


class PredictionTable(Callback):
    """Collects the predictions of all batches and reports progress over all devices."""

    def __init__(self, n_knees: int, progress: FitProgress, what: str) -> None:
        #: Name to [n, ...], the n knees of this device in the order of its loader.
        self.columns: dict[str, Tensor] = {}
        self.n_knees = n_knees
        self.progress = progress
        self.what = what
        self._filled = 0

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the number of knees."""
        self.progress.begin(f"predict {self.what}", self.n_knees, "knees")

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Copy the rows of this batch to their place, and report them."""
        start, end = self._filled, self._filled + len(outputs["position"])
        for name, rows in outputs.items():
            if name not in self.columns:
                n = len(range(trainer.global_rank, self.n_knees, trainer.world_size))
                self.columns[name] = torch.empty((n, *rows.shape[1:]), dtype=rows.dtype)
            self.columns[name][start:end] = rows
        self._filled = end
        done = [min(self.n_knees, n * trainer.world_size) for n in (start, end)]
        self.progress.advance(done[1] - done[0], {})

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the end."""
        self.progress.end()
