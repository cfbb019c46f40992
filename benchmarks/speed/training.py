"""Training with consistency: through Lightning, in a bare loop, and as a plain PyTorch loop does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytorch_lightning as pl
import torch
from parts import AS_WRITTEN, Setting, as_the_runner_does, as_written, plainly_written
from plain_views import AlbumentationsViews, TwoViews
from pytorch_lightning.callbacks import Callback
from timing import Candidate, Row, Turn, now, overhead, rates, ratio, since, synchronize, take_turns
from torch.nn import functional as F
from torch.utils.data import DataLoader

from kneeal.data.batches import ShuffledBatches, ViewBatches, training_batches
from kneeal.pool import PoolState
from kneeal.training.learner import Mode

_BATCH = 32
_OUR_NETWORK = ", our network"


def state(s: Setting) -> PoolState:
    """Half of the knees labeled, half of them in the pseudo pool."""
    half = s.n_knees // 2
    labeled = {name: k % 5 for k, name in enumerate(s.ids[:half])}
    return PoolState(labeled, s.ids[half:], pseudo=s.ids[half : 2 * half])


def rows(s: Setting, *, workers: tuple[int, ...] = (0, 1, 2)) -> list[Row]:
    """Against plain loops with their best number of workers, and against the same step without Lightning."""
    candidates: dict[str, Candidate] = {"ours": _lightning(s), "bare": _bare(s)}
    with ExitStack() as stack:
        for n in workers:
            candidates[_loop(AS_WRITTEN, n)] = as_written(stack, _plain, s, n, True)
            candidates[_loop(_OUR_NETWORK, n)] = _plain(s, n, False)
        best = take_turns(candidates, rounds=s.rounds, seconds=s.seconds)
    rate = rates(best, 2 * (s.n_knees // 2))
    return [
        *(_against_plain(s, whose, workers, best, rate) for whose in (AS_WRITTEN, _OUR_NETWORK)),
        Row(
            f"overhead of Lightning in training, {s}",
            rate["ours"],
            f"the same batches and step in a bare loop: {rate['bare']}",
            overhead(best["ours"], best["bare"]),
            "under 5 %",
        ),
    ]


def compiled(s: Setting, modes: tuple[Mode, ...]) -> list[Row]:
    """What `compute.compile` gives, compilation aside, which the first turn does."""
    candidates = {"none": _lightning(s), **{mode: _lightning(s, mode) for mode in modes}}
    best = take_turns(candidates, rounds=s.rounds, seconds=s.seconds)
    rate = rates(best, 2 * (s.n_knees // 2))
    return [
        Row(
            f"training with consistency, `compute.compile={mode}`, {s}",
            rate[mode],
            f"not compiled: {rate['none']}",
            ratio(best[mode], best["none"]),
        )
        for mode in modes
    ]


def _loop(whose: str, workers: int) -> str:
    """The name of a plain loop among the candidates."""
    return f"plain loop{whose}, {workers} workers"


def _against_plain(
    s: Setting, whose: str, workers: tuple[int, ...], best: dict[str, Turn], rate: dict[str, str]
) -> Row:
    """A plain loop with the number of workers that is best for it."""
    fastest = min(workers, key=lambda n: best[_loop(whose, n)].clock)
    winner = _loop(whose, fastest)
    return Row(
        f"training with consistency, {s}",
        rate["ours"],
        f"plain loop, DataLoader and albumentations, best of {', '.join(map(str, workers))} workers "
        f"({fastest}){whose}: {rate[winner]}",
        ratio(best["ours"], best[winner]),
        "5x" if s.bf16 else "1.2x",
    )


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


def _batches(s: Setting) -> dict[str, ViewBatches]:
    pool = state(s)
    return training_batches(
        s.source(), pool.labeled, pool.pseudo, n_views=2, seed=0, device=s.device, batch_size=_BATCH
    )


def _lightning(s: Setting, compile_mode: Mode | None = None) -> Candidate:
    def fit() -> Turn:
        epochs = _Epochs()
        trainer = s.runner()._trainer(callbacks=[epochs], max_epochs=2, limit_val_batches=0)
        trainer.fit(s.learner(s.network(), compile_mode), _batches(s))
        return epochs.turns[-1]

    return fit


def _bare(s: Setting) -> Candidate:
    learner = s.learner(s.network()).to(s.device).train()
    optimizer = torch.optim.Adam(learner.network.parameters(), lr=1e-3, betas=(0.9, 0.99))
    loaders = _batches(s)

    def epoch() -> None:
        as_the_runner_does()
        for labeled, pseudo in zip(loaders["labeled"], loaders["pseudo"], strict=True):
            optimizer.zero_grad()
            with s.autocast():
                loss = learner.training_step({"labeled": labeled, "pseudo": pseudo}, 0)
            loss.backward()
            optimizer.step()

    return epoch


def _plain(s: Setting, workers: int, written: bool) -> Candidate:
    network = (plainly_written(s.network()) if written else s.network()).to(s.device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.9, 0.99))
    pool = state(s)

    def loader(start: int, n: int, kl: list[int] | None) -> DataLoader[Any]:
        return DataLoader(
            TwoViews(s.patches[start : start + n], AlbumentationsViews(s.size), kl),
            batch_sampler=ShuffledBatches(n, _BATCH, seed=0),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=s.bf16,
        )

    half = len(pool.labeled)
    loaders = loader(0, half, list(pool.labeled.values())), loader(half, half, None)

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
