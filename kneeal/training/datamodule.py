"""From knees to batches: labeled knees, pseudo pool, validation and prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property

import pytorch_lightning as pl
import torch

from kneeal.data.batches import EvaluationBatches, Source, ViewBatches
from kneeal.data.sampling import ShuffledBatches


@dataclass(eq=False)
class KneeDataModule(pl.LightningDataModule):
    """The loaders of one fit or one prediction."""

    source: Source  #: What batches are made of, on the trainer's device.
    _: KW_ONLY
    batch_size: int = 32  #: Training knees per batch, over all devices.
    eval_batch_size: int = 128  #: Knees per batch and device without gradients.
    #: Training knees and their grades, the only grades that training sees.
    labeled: Mapping[str, int] = field(default_factory=dict)
    pseudo: Sequence[str] = ()  #: The pseudo pool, trained on without grades.
    val: Mapping[str, int] = field(default_factory=dict)  #: Validation knees and their grades.
    predict: Sequence[str] = ()  #: Knees to predict.
    n_views: int = 1  #: Views of each knee in training.
    balanced: bool = False  #: Whether every grade of the labeled knees is drawn equally often.
    epochs: int = 1  #: Epochs that `steps` are spread over.
    #: Training batches of the whole fit, for a trainer that reloads the loaders in each epoch; None makes each epoch a
    #: pass over the knees.
    steps: int | None = None
    seed: int = 0  #: Seed of the order and the views.

    def __post_init__(self) -> None:
        super().__init__()

    def train_dataloader(self) -> dict[str, ViewBatches]:
        """`labeled` and, with a pseudo pool, `pseudo`: the same number of batches per epoch."""
        if self.steps is not None:
            epoch = self.trainer.current_epoch if self.trainer else 0
            for loader in self._training.values():
                loader.batches.length = (epoch + 1) * self.steps // self.epochs - epoch * self.steps // self.epochs
        return self._training

    def val_dataloader(self) -> EvaluationBatches:
        """Validation knees with their grades."""
        return self._evaluation(tuple(self.val), self.val)

    def predict_dataloader(self) -> EvaluationBatches:
        """The knees to predict, without grades."""
        return self._evaluation(self.predict)

    @cached_property
    def _training(self) -> dict[str, ViewBatches]:
        loaders = {"labeled": self._view_batches(tuple(self.labeled), self.labeled, self.seed)}
        if self.pseudo:
            loaders["pseudo"] = self._view_batches(self.pseudo, None, self.seed + 1)
        return loaders

    def _view_batches(self, ids: Sequence[str], kl: Mapping[str, int] | None, seed: int) -> ViewBatches:
        rank, world_size, device = self._process()
        grades = [kl[i] for i in ids] if kl is not None and self.balanced else None
        batches = ShuffledBatches(len(ids), self.batch_size, seed=seed, rank=rank, world_size=world_size, grades=grades)
        return ViewBatches(self.source, ids, batches, n_views=self.n_views, kl=kl, device=device)

    def _evaluation(self, ids: Sequence[str], kl: Mapping[str, int] | None = None) -> EvaluationBatches:
        """Knees without random views, in order; each device gets its share."""
        rank, world_size, device = self._process()
        positions = range(rank, len(ids), world_size)
        return EvaluationBatches(self.source, ids, positions, batch_size=self.eval_batch_size, kl=kl, device=device)

    def _process(self) -> tuple[int, int, torch.device]:
        """Rank, world size and device of this process."""
        trainer = self.trainer
        if trainer is None:
            return 0, 1, torch.device("cpu")
        return trainer.global_rank, trainer.world_size, trainer.strategy.root_device
