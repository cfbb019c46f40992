"""Batches made on the network's device: no worker processes, and no step that waits for the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from kneeal.data.device_views import DeviceViews
from kneeal.data.sampling import Share, ShuffledBatches
from kneeal.data.store import PatchStore


class ViewBatches:
    """Random views of knees, made on the device, in the sampler's order.

    Only the grades handed in here can come out: for the pseudo pool there are none.

    Args:
        store: The patches.
        ids: The knees.
        batches: Order of the knees and seeds of their views.
        views: The random views.
        n_views: Views per knee.
        kl: Grades by knee id.
        device: The network's device.
    """

    def __init__(
        self,
        store: PatchStore,
        ids: Sequence[str],
        batches: ShuffledBatches,
        views: DeviceViews,
        *,
        n_views: int,
        kl: Mapping[str, int] | None,
        device: torch.device,
    ) -> None:
        self.store = store
        self.batches = batches
        self.views = views
        self.n_views = n_views
        self.device = device
        self._rows = store.rows(ids).to(store.row_device(device))
        self._kl = None if kl is None else torch.tensor([kl[i] for i in ids], device=device)

    def __len__(self) -> int:
        """Number of batches per epoch."""
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """The batches of the next epoch: `views` float32 [B, n_views, 2, H, H] and, if known, `kl` int64 [B]."""
        # The draws of the whole epoch go to the device at once, so that no step copies anything.
        epoch = list(self.batches)
        draws = torch.tensor([draw for batch in epoch for draw in batch], device=self.device)
        sizes = [len(batch) for batch in epoch]
        positions, seeds = torch.split(draws[:, 0], sizes), torch.split(draws[:, 1], sizes)
        rows = torch.split(self._rows[draws[:, 0].to(self._rows.device)], sizes)
        view = torch.arange(self.n_views, device=self.device)
        for position, seed, row in zip(positions, seeds, rows, strict=True):
            pairs = self.store.gather(row, self.device).repeat_interleave(self.n_views, dim=0)
            views = self.views(pairs, (seed[:, None] + view).flatten())
            batch = {"views": views.view(len(row), self.n_views, *views.shape[1:])}
            if self._kl is not None:
                batch["kl"] = self._kl[position]
            yield batch


class EvaluationBatches:
    """Knees without random views, for evaluation and prediction, with their position in the list.

    Args:
        store: The patches.
        ids: The knees.
        share: The positions of this device.
        batch_size: Knees per batch.
        kl: Grades by knee id.
        device: The network's device.
    """

    def __init__(
        self,
        store: PatchStore,
        ids: Sequence[str],
        share: Share,
        *,
        batch_size: int,
        kl: Mapping[str, int] | None,
        device: torch.device,
    ) -> None:
        self.store = store
        self.batch_size = batch_size
        self.device = device
        self._positions = torch.tensor(list(share), dtype=torch.long)
        self._rows = store.rows(ids)[self._positions].to(store.row_device(device))
        self._kl = None if kl is None else torch.tensor([kl[i] for i in ids])[self._positions].to(device)

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self._positions) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """`patches` float32 [B, 2, H, H] in [-1, 1], `position` int64 [B] and, if known, `kl` int64 [B]."""
        for start in range(0, len(self._positions), self.batch_size):
            part = slice(start, start + self.batch_size)
            pairs = self.store.gather(self._rows[part], self.device)
            batch = {"patches": pairs.float().mul_(2 / 255).sub_(1.0), "position": self._positions[part]}
            if self._kl is not None:
                batch["kl"] = self._kl[part]
            yield batch
