"""Batches made on the network's device: no worker processes, and no step that waits for the device."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Protocol

import torch
from torch import Tensor

from kneeal.data.sampling import ShuffledBatches
from kneeal.data.store import PatchStore
from kneeal.data.views import Views


class Source(Protocol):
    """What batches are made of, by rows."""

    #: Fewest knees of an evaluation batch.
    batch_size: int

    def rows(self, ids: Sequence[str]) -> Tensor:
        """Rows of knees, int64 [N] or [N, 2]."""

    def row_device(self, device: torch.device) -> torch.device:
        """Device of the rows that the other methods take, for results on `device`."""

    def plain(self, rows: Tensor, device: torch.device) -> Tensor:
        """What the network takes for the knees of rows [B], float32 [B, 2, ...]."""

    def views(self, rows: Tensor, seeds: Tensor, device: torch.device) -> Tensor:
        """The same for one random view of each knee, a function of the knee and its seed [B]."""


class PatchSource:
    """Patches and their random views, made on the device."""

    batch_size = 1

    def __init__(self, store: PatchStore, augment: Views) -> None:
        self.store = store
        self.augment = augment
        self.rows = store.rows
        self.row_device = store.row_device

    def plain(self, rows: Tensor, device: torch.device) -> Tensor:
        """Patches float32 [B, 2, H, H] in [-1, 1]."""
        return self.store.gather(rows, device).float().mul_(2 / 255).sub_(1.0)

    def views(self, rows: Tensor, seeds: Tensor, device: torch.device) -> Tensor:
        """Random views of them."""
        return self.augment(self.store.gather(rows, device), seeds)


class OneView:
    """The knees of a source in one random view each, by a seed that is a function of the knee."""

    def __init__(self, source: Source, seed: Callable[[str], int]) -> None:
        self.batch_size = source.batch_size
        self.row_device = source.row_device
        self._source = source
        self._seed = seed

    def rows(self, ids: Sequence[str]) -> Tensor:
        """Rows and seeds of knees, int64 [N, 2]."""
        return torch.stack([self._source.rows(ids), torch.tensor([self._seed(i) for i in ids])], dim=1)

    def plain(self, rows: Tensor, device: torch.device) -> Tensor:
        """The views of rows [B, 2]."""
        return self._source.views(rows[:, 0], rows[:, 1].to(device), device)

    def views(self, rows: Tensor, seeds: Tensor, device: torch.device) -> Tensor:
        """The same: there is one view."""
        return self.plain(rows, device)


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
        self._rows = self.source.rows(self.ids).to(self.source.row_device(self.device))
        self._kl = None if kl is None else torch.tensor([kl[i] for i in self.ids], device=self.device)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """The batches of the next epoch: `views` float32 [B, n_views, 2, ...] and, if known, `kl` int64 [B]."""
        # The draws of the whole epoch go to the device at once, so that no step copies anything.
        epoch = list(self.batches)
        draws = torch.tensor([draw for batch in epoch for draw in batch], device=self.device)
        sizes = [len(batch) for batch in epoch]
        positions, seeds = torch.split(draws[:, 0], sizes), torch.split(draws[:, 1], sizes)
        rows = torch.split(self._rows[draws[:, 0].to(self._rows.device)], sizes)
        view = torch.arange(self.n_views, device=self.device)
        for position, seed, row in zip(positions, seeds, rows, strict=True):
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
    positions: range  #: Those of this device in the list.
    _: KW_ONLY
    batch_size: int  #: Knees per batch, or as many as the source needs at least.
    kl: Mapping[str, int] | None  #: Grades by knee id.
    device: torch.device  #: The network's device.

    def __post_init__(self) -> None:
        kl, source = self.kl, self.source
        self.batch_size = max(self.batch_size, source.batch_size)
        self._positions = torch.tensor(self.positions, dtype=torch.long)
        self._rows = source.rows(self.ids)[self._positions].to(source.row_device(self.device))
        self._kl = None if kl is None else torch.tensor([kl[i] for i in self.ids])[self._positions].to(self.device)

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
