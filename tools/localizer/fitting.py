"""How the four networks of the localizer learn from samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from kneeal.localizer.networks import (
    COARSE_STRIDE,
    FINE_MM,
    FINE_PX,
    CoarseNetwork,
    FineNetwork,
    MarkerNetwork,
    MetalNetwork,
    map_points,
)
from kneeal.localizer.windows import stretch

Arrays = dict[str, NDArray[Any]]
_BLOB_PX = 2.0  # standard deviation of a target blob, in pixels of the coarse maps
_POINT_MM = 3.0  # the same for the plateau edges, in mm


def train_coarse(samples: Arrays, steps: int) -> CoarseNetwork:
    """Train the network that says where knees and markers are."""
    network = CoarseNetwork()
    radiographs = samples["coarse"]

    def loss(rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        x = radiographs[rows].astype(np.float32)[:, None] / np.float32(255)
        targets = np.stack([_blobs(samples["knees"][rows], radiographs.shape[1]),
                            _blobs(samples["markers"][rows], radiographs.shape[1])], axis=1)  # fmt: skip
        if rng.random() < 0.5:
            x, targets = x[..., ::-1], targets[..., ::-1]
        target = torch.from_numpy(np.ascontiguousarray(targets))
        logits = network(_vary(x, rng))
        return F.binary_cross_entropy_with_logits(logits, target, weight=1 + 30 * target)

    _fit(network, loss, len(radiographs), steps, batch=8, rate=2e-3, name="coarse")
    return network


def train_fine(samples: Arrays, steps: int, network: FineNetwork | None = None) -> FineNetwork:
    """Train the network that marks the plateau, from nothing or from another one."""
    network = network or FineNetwork()
    windows, kinds, points = samples["fine"], samples["kinds"].astype(np.int64), samples["points"]

    def loss(rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        x = stretch(windows[rows])
        ends = points[rows]
        if rng.random() < 0.5:
            x = x[..., ::-1]
            ends = (ends * np.array([-1, 1], np.float32))[:, ::-1]
        maps, kind = network(_vary(x, rng))
        target = torch.from_numpy(np.ascontiguousarray(ends))
        known = ~torch.isnan(target).flatten(1).any(1) & (target.abs() < FINE_PX * FINE_MM / 2 - 4).flatten(1).all(1)
        total = F.cross_entropy(kind, torch.from_numpy(kinds[rows]))
        if known.any():
            found = map_points(maps[known])
            total = total + 0.3 * F.smooth_l1_loss(found, target[known], beta=2.0)
            total = total + 0.5 * _map_loss(maps[known], target[known])
        return total

    _fit(network, loss, len(windows), steps, batch=16, rate=2e-3, name="fine")
    return network


def train_marker(samples: Arrays, steps: int) -> MarkerNetwork:
    """Train the network that reads side markers."""
    network = MarkerNetwork()
    windows, kinds = samples["letters"], samples["letter_kinds"].astype(np.int64)

    def loss(rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        x = stretch(windows[rows])
        shift = rng.integers(-2, 3, 2)
        logits = network(_vary(np.roll(x, shift, axis=(2, 3)), rng))
        return F.cross_entropy(logits, torch.from_numpy(kinds[rows]), label_smoothing=0.02)

    _fit(network, loss, len(windows), steps, batch=48, rate=2e-3, name="marker")
    return network


def train_metal(samples: Arrays, steps: int) -> MetalNetwork:
    """Train the network that shows metal in a knee."""
    network = MetalNetwork()
    windows, masks = samples["windows"], samples["masks"]

    def loss(rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        x, metal = (pictures[rows].astype(np.float32)[:, None] / np.float32(255) for pictures in (windows, masks))
        if rng.random() < 0.5:
            x, metal = x[..., ::-1], metal[..., ::-1]
        # A wire that covers half of a pixel is metal, and the faint blur around it is not.
        target = torch.from_numpy(np.clip((metal - 0.1) / 0.4, 0, 1))
        return F.binary_cross_entropy_with_logits(network(_vary(x, rng)), target)

    _fit(network, loss, len(windows), steps, batch=16, rate=3e-3, name="metal")
    return network


def _fit(
    network: nn.Module,
    loss: Callable[[NDArray[np.int64], np.random.Generator], Tensor],
    n: int,
    steps: int,
    *,
    batch: int,
    rate: float,
    name: str,
) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    rng = np.random.default_rng(1)
    order = _shuffled(n, batch, rng)
    network.train().to(memory_format=torch.channels_last)
    started, used, recent = time.perf_counter(), time.process_time(), 0.0
    for step in range(steps):
        value = loss(next(order), rng)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        recent += float(value.detach())
        if (step + 1) % 250 == 0 or step + 1 == steps:
            since = step % 250 + 1
            wall, cpu = time.perf_counter() - started, time.process_time() - used
            print(f"{name} {step + 1}/{steps} loss {recent / since:.4f} {wall:.0f} s ({cpu:.0f} s CPU)", flush=True)
            recent = 0.0
    network.eval()


def _shuffled(n: int, batch: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Batches of rows for ever; all rows in each where there are fewer than a batch."""
    if n < 1:
        raise ValueError("no sample to learn from.")
    batch = min(batch, n)
    while True:
        order = rng.permutation(n)
        for start in range(0, n - batch + 1, batch):
            yield np.sort(order[start : start + batch])


def _vary(x: NDArray[np.float32], rng: np.random.Generator) -> Tensor:
    """Random gamma, contrast, brightness and noise."""
    n = len(x)
    gamma = np.exp(rng.normal(0, 0.3, (n, 1, 1, 1))).astype(np.float32)
    scale = rng.uniform(0.75, 1.1, (n, 1, 1, 1)).astype(np.float32)
    level = rng.uniform(0, 0.12, (n, 1, 1, 1)).astype(np.float32)
    noise = rng.standard_normal(x.shape, dtype=np.float32) * rng.uniform(0, 0.04, (n, 1, 1, 1)).astype(np.float32)
    varied = torch.from_numpy(np.clip(x**gamma * scale + level + noise, 0, 1).astype(np.float32))
    return varied.contiguous(memory_format=torch.channels_last)


def _blobs(points: NDArray[np.float32], canvas: int) -> NDArray[np.float32]:
    """A blob of height 1 at each point: [B, n, 2] in pixels of the canvas give [B, h, w]."""
    size = canvas // COARSE_STRIDE
    grid = np.arange(size, dtype=np.float32)
    # Pixel i of the map covers pixels 2 i and 2 i + 1 of the canvas.
    spots = points / COARSE_STRIDE - 0.5
    x = np.exp(-((grid[None, None, :] - spots[..., :1]) ** 2) / (2 * _BLOB_PX**2))
    y = np.exp(-((grid[None, None, :] - spots[..., 1:]) ** 2) / (2 * _BLOB_PX**2))
    blobs = np.nan_to_num(y[..., :, None] * x[..., None, :])
    out: NDArray[np.float32] = blobs.max(axis=1).astype(np.float32)
    return out


def _map_loss(maps: Tensor, points: Tensor) -> Tensor:
    """Cross-entropy of the maps with blobs at the points."""
    size = maps.shape[-1]
    grid = (torch.arange(size) - (size - 1) / 2) * (2 * FINE_MM)
    x = -((grid - points[..., :1]) ** 2) / (2 * _POINT_MM**2)
    y = -((grid - points[..., 1:]) ** 2) / (2 * _POINT_MM**2)
    target = (y[..., :, None] + x[..., None, :]).flatten(2).softmax(-1)
    return -(target * maps.flatten(2).log_softmax(-1)).sum(-1).mean()
