"""From knees to batches: labeled knees, pseudo pool, validation and prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from kneeal.data.batches import EvaluationBatches, Source, ViewBatches
from kneeal.data.sampling import Share, ShuffledBatches
from kneeal.data.store import Patches
from kneeal.data.views import Views, normalize, resize

#: What Lightning iterates over.
Loader = DataLoader[dict[str, Any]] | ViewBatches | EvaluationBatches


class TrainingViews(Dataset[dict[str, Any]]):
    """Random views of knees, two of each where the consistency term needs them.

    Only the grades handed in here can come out: for the pseudo pool there are none.
    """

    def __init__(
        self,
        patches: Patches,
        ids: Sequence[str],
        views: Views,
        *,
        size: int,
        n_views: int,
        kl: Mapping[str, int] | None,
    ) -> None:
        self.patches = patches
        self.ids = tuple(ids)
        self.views = views
        self.size = size
        self.n_views = n_views
        self.kl = None if kl is None else [kl[i] for i in ids]

    def __getitem__(self, draw: tuple[int, int]) -> dict[str, Any]:
        """The sample at draw = (position, seed): `views` float32 [n_views, 2, H, H] and, if known, `kl`."""
        position, seed = draw
        pair = resize(self.patches[self.ids[position]], self.size)
        views = [normalize(self.views(pair, seed + view)) for view in range(self.n_views)]
        sample: dict[str, Any] = {"views": np.stack(views)}
        if self.kl is not None:
            sample["kl"] = self.kl[position]
        return sample


class EvaluationKnees(Dataset[dict[str, Any]]):
    """Knees without random views, for evaluation and prediction, with their position in the list."""

    def __init__(self, patches: Patches, ids: Sequence[str], *, size: int, kl: Mapping[str, int] | None = None) -> None:
        self.patches = patches
        self.ids = tuple(ids)
        self.size = size
        self.kl = None if kl is None else [kl[i] for i in ids]

    def __len__(self) -> int:
        """Number of knees."""
        return len(self.ids)

    def __getitem__(self, position: int) -> dict[str, Any]:
        """`patches` float32 [2, H, H], `position`, and `kl` if known."""
        sample: dict[str, Any] = {
            "patches": normalize(resize(self.patches[self.ids[position]], self.size)),
            "position": position,
        }
        if self.kl is not None:
            sample["kl"] = self.kl[position]
        return sample


@dataclass(frozen=True)
class LoaderOptions:
    """How batches are made.

    Attributes:
        patch_size: Side in px that the network sees; patches are resampled to it.
        batch_size: Training knees per batch, over all devices.
        eval_batch_size: Knees per batch and device without gradients.
        workers: Loader processes per device, for views made by workers; 0 loads in the main process.
    """

    patch_size: int = 128
    batch_size: int = 32
    eval_batch_size: int = 128
    workers: int = 0


class KneeDataModule(pl.LightningDataModule):
    """The loaders of one fit or one prediction.

    Args:
        knees: What batches are made of on the trainer's device, or patch pairs by knee id for the loader's workers.
        views: Random views by the workers, made for patches of `options.patch_size`; None where `knees` has its own.
        options: How batches are made.
        labeled: Training knees and their grades, the only grades that training sees.
        pseudo: The pseudo pool, trained on without grades.
        val: Validation knees and their grades.
        predict: Knees to predict.
        n_views: Views of each knee in training.
        balanced: Whether every grade of the labeled knees is drawn equally often.
        epochs: Epochs that `steps` are spread over.
        steps: Training batches of the whole fit, for a trainer that reloads the loaders in each epoch; None makes
            each epoch a pass over the knees.
        seed: Seed of the order and the views.
    """

    def __init__(
        self,
        knees: Source | Patches,
        views: Views | None,
        options: LoaderOptions,
        *,
        labeled: Mapping[str, int] | None = None,
        pseudo: Sequence[str] = (),
        val: Mapping[str, int] | None = None,
        predict: Sequence[str] = (),
        n_views: int = 1,
        balanced: bool = False,
        epochs: int = 1,
        steps: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if isinstance(knees, Patches) and views is None:
            raise ValueError("views must be given for patches.")
        self.knees = knees
        self.views = views
        self.options = options
        self.labeled = labeled or {}
        self.pseudo = pseudo
        self.val = val or {}
        self.predict = predict
        self.n_views = n_views
        self.balanced = balanced
        self.epochs = epochs
        self.steps = steps
        self._batches: list[ShuffledBatches] = []
        self.seed = seed

    def train_dataloader(self) -> dict[str, Loader]:
        """`labeled` and, with a pseudo pool, `pseudo`: the same number of batches per epoch."""
        loaders = self._training_loaders
        if self.steps is not None:
            epoch = self.trainer.current_epoch if self.trainer else 0
            for batches in self._batches:
                batches.length = (epoch + 1) * self.steps // self.epochs - epoch * self.steps // self.epochs
        return loaders

    @cached_property
    def _training_loaders(self) -> dict[str, Loader]:
        loaders = {"labeled": self._training_loader("labeled", tuple(self.labeled), self.labeled)}
        if self.pseudo:
            loaders["pseudo"] = self._training_loader("pseudo", self.pseudo, None)
        return loaders

    def val_dataloader(self) -> Loader:
        """Validation knees with their grades."""
        return self._evaluation_loader(tuple(self.val), self.val)

    def predict_dataloader(self) -> Loader:
        """The knees to predict, without grades."""
        return self._evaluation_loader(self.predict)

    def _evaluation_loader(self, ids: Sequence[str], kl: Mapping[str, int] | None = None) -> Loader:
        """Knees without random views, in order; each device gets its share."""
        rank, world_size, device = self._process()
        share = Share(len(ids), rank=rank, world_size=world_size)
        size = self.options.eval_batch_size
        if not isinstance(self.knees, Patches):
            return EvaluationBatches(self.knees, ids, share, batch_size=size, kl=kl, device=device)
        return DataLoader(
            EvaluationKnees(self.knees, ids, size=self.options.patch_size, kl=kl),
            batch_size=size,
            sampler=share,
            num_workers=self.options.workers,
            pin_memory=torch.cuda.is_available(),
        )

    def _training_loader(self, name: str, ids: Sequence[str], kl: Mapping[str, int] | None) -> Loader:
        rank, world_size, device = self._process()
        batches = ShuffledBatches(
            len(ids),
            self.options.batch_size,
            seed=self.seed if name == "labeled" else self.seed + 1,
            rank=rank,
            world_size=world_size,
            grades=[kl[i] for i in ids] if kl is not None and self.balanced else None,
        )
        self._batches.append(batches)
        if not isinstance(self.knees, Patches):
            return ViewBatches(self.knees, ids, batches, n_views=self.n_views, kl=kl, device=device)
        return DataLoader(
            TrainingViews(
                self.knees, ids, cast(Views, self.views), size=self.options.patch_size, n_views=self.n_views, kl=kl
            ),
            batch_sampler=batches,
            num_workers=self.options.workers,
            persistent_workers=self.options.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _process(self) -> tuple[int, int, torch.device]:
        """Rank, world size and device of this process."""
        trainer = self.trainer
        if trainer is None:
            return 0, 1, torch.device("cpu")
        return trainer.global_rank, trainer.world_size, trainer.strategy.root_device
