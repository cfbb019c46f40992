"""Patches, on the device if they fit and memory-mapped from disk if not."""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kneeal.data.patches import resize


class PatchStore:
    """Patch pairs of one size, gathered a batch at a time onto a device.

    Patches of that size are used as they are, memory-mapped or not. Others are resampled once, when they are first
    gathered, if the result fits in half of the free memory; else whenever they are gathered. On a GPU, patches stay
    resident if they fit in half of its free memory.

    Args:
        patches: uint8 [N, 2, H, H], medial first.
        row: Position of each knee in `patches`.
        size: Side of the gathered patches in px.
    """

    def __init__(self, patches: NDArray[np.uint8], row: Mapping[str, int], size: int) -> None:
        self._given = patches
        self._row = row
        self._size = size
        self._resident: dict[torch.device, Tensor] = {}

    @cached_property
    def _patches(self) -> NDArray[np.uint8]:
        """The patches, resampled if memory can hold the result."""
        shape = (len(self._given), 2, self._size, self._size)
        if self._given.shape == shape or np.prod(shape) > free_memory() // 2:
            return self._given
        resampled = np.empty(shape, np.uint8)
        for row, pair in enumerate(self._given):
            resampled[row] = resize(pair, self._size)
        return resampled

    def rows(self, ids: Sequence[str]) -> Tensor:
        """Rows of knees for `gather`, int64 [N]."""
        return torch.tensor([self._row[i] for i in ids], dtype=torch.long)

    def row_device(self, device: torch.device) -> torch.device:
        """Device of the rows that `gather` takes: `device` if the patches are resident there, else the CPU."""
        return device if device.type != "cpu" and self._load(device) else torch.device("cpu")

    def gather(self, rows: Tensor, device: torch.device) -> Tensor:
        """The patch pairs uint8 [B, 2, H, H] of rows, on the device."""
        if rows.device.type != "cpu":
            return self._resident[rows.device][rows]
        block = self._patches[rows.numpy()]
        if block.shape[-1] != self._size:
            block = np.stack([resize(pair, self._size) for pair in block])
        return torch.from_numpy(block).to(device, non_blocking=True)

    def _load(self, device: torch.device) -> bool:
        """Make the patches resident on a device other than the CPU, if they fit."""
        patches = self._patches
        if device not in self._resident:
            if patches.shape[-1] != self._size or patches.nbytes > free_memory(device) // 2:
                return False
            # A block at a time: a memory-mapped array is never in memory as a whole.
            blocks = [
                torch.from_numpy(np.array(patches[k : k + 1024])).to(device) for k in range(0, len(patches), 1024)
            ]
            self._resident[device] = torch.cat(blocks)
        return True


def free_memory(device: torch.device | None = None) -> int:
    """Free bytes of a GPU, or of the machine."""
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # unknown on this system: assume that there is enough
        return 2**40
