"""Batches made on the network's device: no worker processes, and no step that waits for the device."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor

from kneeal.data.source import Source
from kneeal.errors import UserError
from kneeal.seeds import derive_seed


@dataclass(eq=False)
class ShuffledBatches:
    """Shuffled batches of (position, view seed) for one device of several.

    An epoch is a pass over the samples or, with `steps`, its share of that many batches.

    Batches are drawn for all devices together and then dealt out, so `batch_size` is global and a batch holds the same
    knees on two devices as on one. The last batch of a pass may be smaller and is never dropped; where it cannot be
    dealt out evenly, its first knees are repeated.

    Raises:
        UserError: There are no samples.
    """

    n: int  #: Number of samples.
    batch_size: int  #: Knees per batch, over all devices.
    _: KW_ONLY
    seed: int  #: Seed of the order and of the views.
    rank: int = 0  #: This device, in [0, world_size).
    world_size: int = 1  #: Number of devices.
    #: Of the samples; if given, each grade that occurs is drawn equally often, in each batch if possible.
    grades: Sequence[int] | None = None
    steps: int | None = None  #: Batches of `epochs` epochs together.
    epochs: int = 1  #: Epochs that `steps` are spread over.

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UserError("an empty training set", "at least one labeled knee", "label some knees first")
        self._per_pass = -(-self.n // self.batch_size)
        self._epoch = self._given = 0

    def __len__(self) -> int:
        """Batches of the next epoch."""
        if self.steps is None:
            return self._per_pass
        return (self._epoch + 1) * self.steps // self.epochs - self._epoch * self.steps // self.epochs

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        numbers = range(self._given, self._given + len(self))
        self._given = numbers.stop
        self._epoch += 1
        draws: list[tuple[int, int]] = []
        for number in numbers:
            start = number % self._per_pass * self.batch_size
            if not start or not draws:
                draws = self._pass(number // self._per_pass)
            batch = draws[start : start + self.batch_size]
            missing = -len(batch) % self.world_size
            batch += [batch[i % len(batch)] for i in range(missing)]
            yield batch[self.rank :: self.world_size]

    def _pass(self, number: int) -> list[tuple[int, int]]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", number))
        order = torch.randperm(self.n, generator=generator)
        if self.grades is not None:  # in rounds of one knee per grade; the knees of a rare grade repeat in turn
            grade = torch.tensor(self.grades)[order]
            members = [order[grade == g] for g in sorted(set(self.grades))]
            n_rounds = -(-self.n // len(members))
            rounds = torch.stack([m.repeat(-(-n_rounds // len(m)))[:n_rounds] for m in members], dim=1)
            mixed = torch.rand(rounds.shape, generator=generator).argsort(dim=1)
            order = rounds.gather(1, mixed).flatten()[: self.n]
        seeds = torch.randint(2**31, (self.n,), generator=generator)
        return list(zip(order.tolist(), seeds.tolist(), strict=True))


@dataclass(eq=False)
class ViewBatches:
    """Random views of knees, made on the device, in shuffled batches.

    A batch holds grades only if `kl` gives them; the pseudo pool has none.
    """

    source: Source  #: Patches or activations.
    ids: Sequence[str]  #: The knees.
    batches: ShuffledBatches  #: Order of the knees and seeds of their views.
    _: KW_ONLY
    n_views: int  #: Views per knee.
    kl: Mapping[str, int] | None  #: Grades by knee id.
    device: torch.device  #: The network's device.

    def __post_init__(self) -> None:
        kl = self.kl
        self._rows = self.source.rows(self.ids, self.device)
        self._kl = None if kl is None else torch.tensor([kl[i] for i in self.ids], device=self.device)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """The batches of the next epoch: `views` float32 [B, n_views, 2, ...] and, if known, `kl` int64 [B]."""
        # The draws of the whole epoch go to the device at once, so that no step copies anything.
        epoch = list(self.batches)
        draws = torch.tensor([draw for batch in epoch for draw in batch], device=self.device)
        sizes = [len(batch) for batch in epoch]
        rows = self._rows[draws[:, 0].to(self._rows.device)]
        view = torch.arange(self.n_views, device=self.device)
        for draw, row in zip(torch.split(draws, sizes), torch.split(rows, sizes), strict=True):
            position, seed = draw.unbind(1)
            repeated = row.repeat_interleave(self.n_views, dim=0)
            views = self.source.views(repeated, (seed[:, None] + view).flatten(), self.device)
            batch = {"views": views.view(len(row), self.n_views, *views.shape[1:])}
            if self._kl is not None:
                batch["kl"] = self._kl[position]
            yield batch


@dataclass(eq=False)
class EvaluationBatches:
    """Knees without random views, for evaluation and prediction, with their position in the list."""

    source: Source  #: Patches or activations.
    ids: Sequence[str]  #: The knees.
    kl: Mapping[str, int] | None = None  #: Grades by knee id.
    _: KW_ONLY
    batch_size: int  #: Knees per batch, or as many as the source needs at least.
    device: torch.device  #: The network's device.
    rank: int = 0  #: This device, in [0, world_size); each has its share of the knees.
    world_size: int = 1  #: Number of devices.

    def __post_init__(self) -> None:
        kl, ids = self.kl, self.ids[self.rank :: self.world_size]
        self.batch_size = max(self.batch_size, self.source.batch_size)
        self._positions = torch.arange(len(self.ids))[self.rank :: self.world_size]
        self._rows = self.source.rows(ids, self.device)
        self._kl = None if kl is None else torch.tensor([kl[i] for i in ids], device=self.device)

    def __len__(self) -> int:
        return -(-len(self._positions) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """`patches` float32 [B, 2, ...], `position` int64 [B] and, if known, `kl` int64 [B]."""
        for start in range(0, len(self._positions), self.batch_size):
            part = slice(start, start + self.batch_size)
            patches = self.source.plain(self._rows[part], self.device)
            batch = {"patches": patches, "position": self._positions[part]}
            if self._kl is not None:
                batch["kl"] = self._kl[part]
            yield batch


def training_batches(
    source: Source,
    labeled: Mapping[str, int],
    pseudo: Sequence[str] = (),
    *,
    n_views: int,
    seed: int,
    device: torch.device,
    balanced: bool = False,
    **order: Any,
) -> dict[str, ViewBatches]:
    """Batches of the labeled knees with their grades, and of the pseudo pool, where there is one, without.

    `balanced` draws every grade equally often; `order` is passed on to `ShuffledBatches`.
    """
    grades = list(labeled.values()) if balanced else None
    batches = ShuffledBatches(len(labeled), seed=seed, grades=grades, **order)
    loaders = {"labeled": ViewBatches(source, tuple(labeled), batches, n_views=n_views, kl=labeled, device=device)}
    if pseudo:
        batches = ShuffledBatches(len(pseudo), seed=seed + 1, **order)
        loaders["pseudo"] = ViewBatches(source, pseudo, batches, n_views=n_views, kl=None, device=device)
    return loaders
