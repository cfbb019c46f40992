"""What batches are made of: patches, on the device if they fit and memory-mapped from disk if not."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kneeal.data.patches import resize
from kneeal.data.views import Views


class Source(Protocol):
    """What batches are made of, by rows."""

    #: Fewest knees of an evaluation batch.
    batch_size: int

    def rows(self, ids: Sequence[str], device: torch.device | None = None) -> Tensor:
        """Rows of knees, int64 [N] or [N, 2], where the other methods take them fastest for results on `device`."""

    def plain(self, rows: Tensor, device: torch.device) -> Tensor:
        """What the network takes for the knees of rows [B], float32 [B, 2, ...]."""

    def views(self, rows: Tensor, seeds: Tensor, device: torch.device) -> Tensor:
        """The same for one random view of each knee, a function of the knee and its seed [B]."""


@dataclass(eq=False)
class PatchSource:
    """Patch pairs and their random views, made on the device.

    Patches of the size of the views are used as they are, memory-mapped or not. Others are resampled once, when they
    are first used, if the result fits in half of the free memory; else whenever they are used. On a GPU, patches stay
    resident if they fit in half of its free memory.
    """

    patches: NDArray[np.uint8]  #: uint8 [N, 2, H, H], medial first.
    row: Mapping[str, int]  #: Position of each knee in `patches`.
    augment: Views  #: Draws the random views; its size is that of the patches that the network sees.
    batch_size = 1

    def __post_init__(self) -> None:
        self._size = self.augment.size
        self._resident: dict[torch.device, Tensor] = {}

    @cached_property
    def _patches(self) -> NDArray[np.uint8]:
        """The patches, resampled if memory can hold the result."""
        shape = (len(self.patches), 2, self._size, self._size)
        if self.patches.shape == shape or np.prod(shape) > free_memory() // 2:
            return self.patches
        resampled = np.empty(shape, np.uint8)
        for row, pair in enumerate(self.patches):
            resampled[row] = resize(pair, self._size)
        return resampled

    def rows(self, ids: Sequence[str], device: torch.device | None = None) -> Tensor:
        """Rows of knees, int64 [N]; on `device` if the patches are resident there, as on a GPU that they fit on."""
        rows = torch.tensor([self.row[i] for i in ids], dtype=torch.long)
        if device is None or device.type == "cpu":
            return rows
        if device not in self._resident:
            patches = self._patches
            if patches.shape[-1] != self._size or patches.nbytes > free_memory(device) // 2:
                return rows
            # A block at a time: a memory-mapped array is never in memory as a whole.
            blocks = [
                torch.from_numpy(np.array(patches[k : k + 1024])).to(device) for k in range(0, len(patches), 1024)
            ]
            self._resident[device] = torch.cat(blocks)
        return rows.to(device)

    def plain(self, rows: Tensor, device: torch.device) -> Tensor:
        """Patches float32 [B, 2, H, H] in [-1, 1]."""
        return self._gather(rows, device).float().mul_(2 / 255).sub_(1.0)

    def views(self, rows: Tensor, seeds: Tensor, device: torch.device) -> Tensor:
        """Random views of them."""
        return self.augment(self._gather(rows, device), seeds)

    def _gather(self, rows: Tensor, device: torch.device) -> Tensor:
        """The patch pairs uint8 [B, 2, H, H] of rows, on the device."""
        if rows.device.type != "cpu":
            return self._resident[rows.device][rows]
        block = self._patches[rows.numpy()]
        if block.shape[-1] != self._size:
            block = np.stack([resize(pair, self._size) for pair in block])
        return torch.from_numpy(block).to(device, non_blocking=True)


class OneView:
    """The knees of a source in one random view each, by a seed that is a function of the knee."""

    def __init__(self, source: Source, seed: Callable[[str], int]) -> None:
        self.batch_size = source.batch_size
        self._source = source
        self._seed = seed

    def rows(self, ids: Sequence[str], device: torch.device | None = None) -> Tensor:
        """Rows and seeds of knees, int64 [N, 2]."""
        rows = self._source.rows(ids, device)
        return torch.stack([rows, torch.tensor([self._seed(i) for i in ids], device=rows.device)], dim=1)

    def plain(self, rows: Tensor, device: torch.device) -> Tensor:
        """The views of rows [B, 2]."""
        return self._source.views(rows[:, 0], rows[:, 1].to(device), device)

    def views(self, rows: Tensor, seeds: Tensor, device: torch.device) -> Tensor:
        """The same: there is one view."""
        return self.plain(rows, device)


def free_memory(device: torch.device | None = None) -> int:
    """Free bytes of a GPU, or of the machine."""
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # unknown on this system: assume that there is enough
        return 2**40
