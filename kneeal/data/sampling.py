"""Batches that are the same whatever the number of devices and workers."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from kneeal.errors import UserError
from kneeal.seeds import derive_seed


class ShuffledBatches(Sampler[list[tuple[int, int]]]):
    """Shuffled batches of (position, view seed) for one device of several.

    The batches are drawn for the whole group of devices and then dealt out, so `batch_size` is global and
    a batch holds the same knees on two devices as on one. The last batch of an epoch is smaller, never
    dropped; where it cannot be dealt out evenly, its first knees are repeated.

    Args:
        n: Number of samples.
        batch_size: Knees per batch, over all devices.
        seed: Seed of the order and of the views.
        rank: This device, in [0, world_size).
        world_size: Number of devices.
        repeat: Passes over the samples per epoch.

    Raises:
        UserError: There are no samples, or the batch cannot be divided among the devices.
    """

    def __init__(
        self, n: int, batch_size: int, *, seed: int, rank: int = 0, world_size: int = 1, repeat: int = 1
    ) -> None:
        if n < 1:
            raise UserError("an empty training set", "at least one labeled knee", "label some knees first")
        if batch_size < world_size or batch_size % world_size:
            raise UserError(
                f"a batch of {batch_size} knees for {world_size} devices",
                "a batch size (over all devices) that is a multiple of the number of devices",
                "set training.batch_size to a multiple of --devices",
            )
        self.n = n
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.repeat = repeat
        self.epoch = 0

    def __len__(self) -> int:
        """Number of batches per epoch."""
        return -(-self.n * self.repeat // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """The batches of the next epoch."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", self.epoch))
        order = torch.cat([torch.randperm(self.n, generator=generator) for _ in range(self.repeat)]).tolist()
        seeds = torch.randint(2**31, (len(order),), generator=generator).tolist()
        self.epoch += 1
        draws = list(zip(order, seeds, strict=True))
        for start in range(0, len(draws), self.batch_size):
            batch = draws[start : start + self.batch_size]
            missing = -len(batch) % self.world_size
            batch += [batch[i % len(batch)] for i in range(missing)]
            yield batch[self.rank :: self.world_size]


class Share(Sampler[int]):
    """Every world_size-th position, in order: each sample exactly once over all devices."""

    def __init__(self, n: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.positions = range(rank, n, world_size)

    def __len__(self) -> int:
        """Number of positions of this device."""
        return len(self.positions)

    def __iter__(self) -> Iterator[int]:
        """The positions, ascending."""
        return iter(self.positions)
