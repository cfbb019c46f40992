"""Training with consistency: through Lightning, in a bare loop, and as a plain PyTorch loop does it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from parts import Setting, stock_norm
from pytorch_lightning.callbacks import Callback
from timing import Candidate, Row, Turn, now, ratio, since, synchronize, take_turns
from torch.nn import functional as F
from torch.utils.data import DataLoader

from kneeal.data.datamodule import KneeDataModule, LoaderOptions, TrainingViews
from kneeal.data.device_views import DeviceViews
from kneeal.data.sampling import ShuffledBatches
from kneeal.data.views import Views
from kneeal.pool import PoolState

_BATCH = 32


def state(s: Setting) -> PoolState:
    """Half of the knees labeled, half of them in the pseudo pool."""
    half = s.n_knees // 2
    labeled = {name: k % 5 for k, name in enumerate(s.ids[:half])}
    return PoolState(labeled, s.ids[half:], pseudo=s.ids[half : 2 * half])


def rows(s: Setting, *, workers: tuple[int, ...] = (0, 1, 2)) -> list[Row]:
    """Against a plain loop with its best number of workers, and against the same step without Lightning."""
    plain = {f"plain, {n} workers": _plain(s, n) for n in workers}
    candidates: dict[str, Candidate] = {"ours": _lightning(s), "bare": _bare(s), **plain}
    candidates["stock"] = _plain(s, workers[0], stock=True)
    best = take_turns(candidates, rounds=s.rounds, seconds=s.seconds)
    n = 2 * (s.n_knees // 2)
    rate = {name: f"{n / turn.clock:.1f} knees/s" for name, turn in best.items()}
    winner = min(plain, key=lambda name: best[name].clock)
    over = best["ours"].clock / best["bare"].clock - 1, best["ours"].cpu / max(best["bare"].cpu, 1e-9) - 1
    figure = f"training with consistency, {s}"
    return [
        Row(
            figure,
            rate["ours"],
            f"plain loop, DataLoader and albumentations, best of {', '.join(map(str, workers))} workers "
            f"({winner.split()[1]}): {rate[winner]}",
            ratio(best["ours"], best[winner]),
            "5x" if s.bf16 else "1.2x",
        ),
        Row(
            figure,
            rate["ours"],
            f"the same with torch's InstanceNorm2d, {workers[0]} workers: {rate['stock']}",
            ratio(best["ours"], best["stock"]),
        ),
        Row(
            f"overhead of Lightning in training, {s}",
            rate["ours"],
            f"the same batches and step in a bare loop: {rate['bare']}",
            f"{over[0]:+.1%}" if s.bf16 else f"{over[0]:+.1%} ({over[1]:+.1%} CPU)",
            "under 5 %",
        ),
    ]


class _Epochs(Callback):
    """Times every epoch; the first warms up."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        synchronize()
        self._start = now()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        synchronize()
        self.turns.append(since(self._start))


def _data(s: Setting) -> KneeDataModule:
    options = LoaderOptions(s.size, batch_size=_BATCH, eval_batch_size=s.batch)
    return KneeDataModule(s.stored, state(s), {}, DeviceViews(s.size), options, consistency=True, seed=0)


def _lightning(s: Setting) -> Candidate:
    def fit() -> Turn:
        learner, data, epochs = s.learner(s.network()), _data(s), _Epochs()
        trainer = pl.Trainer(
            accelerator="gpu" if s.bf16 else "cpu",
            devices=1,
            precision="bf16-mixed" if s.bf16 else "32-true",
            max_epochs=2,
            logger=False,
            callbacks=[epochs],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            deterministic="warn",
        )
        trainer.fit(learner, train_dataloaders=_Loaders(data, trainer).train())
        return epochs.turns[-1]

    return fit


class _Loaders:
    """The loaders of a data module on a trainer's device, or on a given one."""

    def __init__(self, data: KneeDataModule, trainer: pl.Trainer | None) -> None:
        data.trainer = trainer
        self.data = data

    def train(self) -> dict[str, Any]:
        return self.data.train_dataloader()


def _bare(s: Setting) -> Candidate:
    learner = s.learner(s.network()).to(s.device).train()
    optimizer = torch.optim.Adam(learner.network.parameters(), lr=1e-3, betas=(0.9, 0.99))
    data = _data(s)
    if s.bf16:
        data._place = lambda: (0, 1, s.device)  # type: ignore[method-assign]
    loaders = data.train_dataloader()

    def epoch() -> None:
        for labeled, pseudo in zip(loaders["labeled"], loaders["pseudo"], strict=True):
            optimizer.zero_grad()
            with s.autocast():
                loss = learner.training_step({"labeled": labeled, "pseudo": pseudo}, 0)
            loss.backward()
            optimizer.step()

    return epoch


def _plain(s: Setting, workers: int, *, stock: bool = False) -> Candidate:
    network = (stock_norm(s.network()) if stock else s.network()).to(s.device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.9, 0.99))
    pool = state(s)

    def loader(ids: tuple[str, ...], kl: dict[str, int] | None) -> DataLoader[Any]:
        data = TrainingViews(s.stored, ids, Views(s.size), size=s.size, n_views=2, kl=kl)
        return DataLoader(
            data,
            batch_sampler=ShuffledBatches(len(ids), _BATCH, seed=0),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=s.bf16,
        )

    loaders = loader(tuple(pool.labeled), dict(pool.labeled)), loader(pool.pseudo, None)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for labeled, pseudo in zip(*loaders, strict=True):
            both = torch.cat([labeled["views"], pseudo["views"]])
            yield both.to(s.device, non_blocking=True), labeled["kl"].to(s.device, non_blocking=True)

    def epoch() -> None:
        for views, kl in batches():
            optimizer.zero_grad()
            with s.autocast():
                first, second = network(views[:, 0]), network(views[:, 1])
                n = len(kl)
                loss = (F.cross_entropy(first.logits[:n], kl) + F.cross_entropy(second.logits[:n], kl)) / 2
                loss = loss + (first.features - second.features).square().mean()
            loss.backward()
            optimizer.step()
            loss.item()  # as such loops do, for the progress bar

    return epoch
