"""Shuffled batches that do not depend on the number of devices."""

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from kneeal.errors import UserError
from kneeal.seeds import derive_seed


def check_batch_size(batch_size: int, world_size: int) -> None:
    """Refuse a batch that cannot be divided among the devices."""
    if batch_size % world_size:
        raise UserError(
            f"a batch of {batch_size} knees for {world_size} devices",
            "a batch size (over all devices) that is a multiple of the number of devices",
            "set training.batch_size to a multiple of --devices",
        )


@dataclass(eq=False)
class ShuffledBatches:
    """Shuffled batches of (position, view seed) for one device of several.

    An epoch is a pass over the samples or, with `steps`, its share of that many batches.

    Batches are drawn for all devices together and then dealt out, so `batch_size` is global and a batch holds the same
    knees on two devices as on one. The last batch of a pass may be smaller and is never dropped; where it cannot be
    dealt out evenly, its first knees are repeated.

    Raises:
        UserError: There are no samples, or the batch cannot be divided among the devices.
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
        check_batch_size(self.batch_size, self.world_size)
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
        shuffled = torch.randperm(self.n, generator=generator)
        order = (shuffled if self.grades is None else _balanced(shuffled, self.grades, generator)).tolist()
        seeds = torch.randint(2**31, (len(order),), generator=generator).tolist()
        return list(zip(order, seeds, strict=True))


def _balanced(shuffled: Tensor, grades: Sequence[int], generator: torch.Generator) -> Tensor:
    """The same number of positions, in rounds of one knee per grade; the knees of a rare grade repeat in turn."""
    grade = torch.tensor(grades)[shuffled]
    members = [shuffled[grade == g] for g in sorted(set(grades))]
    n_rounds = -(-len(shuffled) // len(members))
    rounds = torch.stack([m.repeat(-(-n_rounds // len(m)))[:n_rounds] for m in members], dim=1)
    mixed = torch.rand(rounds.shape, generator=generator).argsort(dim=1)
    return rounds.gather(1, mixed).flatten()[: len(shuffled)]
