"""Patches on the device if they fit, memory-mapped on disk if not."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kneeal.data.views import resize


@runtime_checkable
class Patches(Protocol):
    """A source of patch pairs."""

    def __getitem__(self, knee_id: str) -> NDArray[np.uint8]:
        """The patch pair uint8 [2, H, H] of a knee, medial first."""


class StoredPatches:
    """Patch pairs of a prepared data set by knee id.

    Args:
        patches: uint8 [N, 2, H, H], memory-mapped or not.
        row: Position of each knee in `patches`.
    """

    def __init__(self, patches: NDArray[np.uint8], row: Mapping[str, int]) -> None:
        self.patches = patches
        self.row = row

    def __getitem__(self, knee_id: str) -> NDArray[np.uint8]:
        """The patch pair uint8 [2, H, H] of a knee."""
        pair: NDArray[np.uint8] = self.patches[self.row[knee_id]]
        return pair


class PatchStore:
    """Patch pairs of one size, gathered a batch at a time onto a device.

    A data set of that size is memory-mapped, without a copy. One of another size is resampled, each knee once, and
    kept if it fits in half of the free memory. On a GPU, patches that were used stay resident if they fit in half of
    its free memory.

    Args:
        patches: Patch pairs by knee id.
        size: Side of the resampled patches in px.
    """

    def __init__(self, patches: Patches, size: int) -> None:
        self.patches = patches
        self.size = size
        self._row: dict[str, int] = {}
        self._array: NDArray[np.uint8] | None = np.empty((0, 2, size, size), np.uint8)
        self._resident: dict[torch.device, Tensor] = {}
        if isinstance(patches, StoredPatches) and patches.patches.shape[-1] == size:
            self._row, self._array = dict(patches.row), patches.patches

    def __getitem__(self, knee_id: str) -> NDArray[np.uint8]:
        """The patch pair uint8 [2, H, H] of a knee as it is stored."""
        return self.patches[knee_id]

    def rows(self, ids: Sequence[str]) -> Tensor:
        """Rows of knees for `gather`, int64 [N]."""
        new = [i for i in dict.fromkeys(ids) if i not in self._row]
        if new:
            self._add(new)
        return torch.tensor([self._row[i] for i in ids], dtype=torch.long)

    def row_device(self, device: torch.device) -> torch.device:
        """Device of the rows that `gather` takes: `device` if the patches are resident there, else the CPU."""
        return device if device.type != "cpu" and self._table(device) is not None else torch.device("cpu")

    def gather(self, rows: Tensor, device: torch.device) -> Tensor:
        """The patch pairs uint8 [B, 2, H, H] of rows, on the device."""
        if rows.device.type != "cpu":
            table = self._table(rows.device)
            if table is None:  # pragma: no cover - `row_device` says where
                raise RuntimeError("rows on a device without resident patches")
            return table[rows]
        index = rows.numpy()
        if self._array is None:
            ids = list(self._row)
            block = np.stack([resize(self.patches[ids[row]], self.size) for row in index])
        else:
            block = self._array[index]
        return torch.from_numpy(block).to(device, non_blocking=True)

    def _add(self, new: Sequence[str]) -> None:
        for i in new:
            self._row[i] = len(self._row)
        if self._array is None:
            return
        total = len(self._row) * 2 * self.size**2
        if total > self._array.nbytes + free_memory() // 2:
            self._array, self._resident = None, {}
            return
        block = np.stack([resize(self.patches[i], self.size) for i in new])
        self._array = np.concatenate([self._array, block])

    def _table(self, device: torch.device) -> Tensor | None:
        """The patches on a device other than the CPU, or None where they do not fit."""
        if self._array is None:
            return None
        table = self._resident.get(device)
        n = 0 if table is None else len(table)
        if table is None or n < len(self._array):
            new = self._array[n:]
            if new.nbytes > free_memory(device) // 2:
                return None
            # A block at a time: a memory-mapped array is never in memory as a whole.
            parts = [torch.from_numpy(np.array(new[k : k + 1024])).to(device) for k in range(0, len(new), 1024)]
            table = torch.cat(parts if table is None else [table, *parts])
            self._resident[device] = table
        return table


def free_memory(device: torch.device | None = None) -> int:
    """Free bytes of a GPU, or of the machine."""
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # unknown on this system: assume that there is enough
        return 2**40
