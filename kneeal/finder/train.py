"""Train the finder: ``python -m kneeal.finder.train --out finder.npz [--pictures DIR]``.

Films are composed from synthetic knees and, where a folder of pictures of single knees is given, from those as well.
Nobody has marked the plateau in these pictures, so that happens in two steps: a network that has seen synthetic
plateaus alone marks each picture in several poses; the mean of marks that agree becomes the picture's plateau, and
the final network learns from both.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from kneeal.films.legs import Pose, place_leg
from kneeal.finder.networks import (
    COARSE_STRIDE,
    FINE_MM,
    FINE_PX,
    NATURAL,
    CoarseNetwork,
    FineNetwork,
    MarkerNetwork,
    map_points,
)
from kneeal.finder.samples import collect, read_leg, real_pictures
from kneeal.finder.weights import save_networks
from kneeal.finder.windows import cut_window, stretch, to_film

Arrays = dict[str, NDArray[Any]]
_BLOB_PX = 2.0  # standard deviation of a target blob, in pixels of the coarse maps
_POINT_MM = 3.0  # the same for the margins of the plateau, in mm
#: Poses in which a picture is marked, and how far in mm the marks may scatter.
_TURNS, _SCATTER_MM = (-9.0, 0.0, 9.0), 1.5


def main() -> None:
    """Make samples, train the three networks, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="where the weights go (.npz)")
    parser.add_argument("--films", type=int, default=2600, help="films to compose")
    parser.add_argument("--pictures", type=Path, help="folder with pictures of single knees, 101 mm wide")
    parser.add_argument("--workers", type=int, default=2, help="processes that compose films")
    parser.add_argument("--seed", type=int, default=9001, help="seed of the samples")
    parser.add_argument("--shards", type=Path, help="keep the samples in this folder, and use what lies there")
    parser.add_argument("--steps", type=int, nargs=3, default=(2500, 5000, 1500), help="coarse, fine, marker")
    options = parser.parse_args()
    pictures = real_pictures(options.pictures) if options.pictures else []
    samples = _samples(options.films, options.seed, pictures, options.workers, options.shards)
    torch.manual_seed(options.seed)
    coarse = train_coarse(samples, options.steps[0])
    fine = train_fine(samples, options.steps[1] if not pictures else options.steps[1] // 2, share=_plateaus(samples))
    if pictures:
        used = sorted({int(number) for number in samples["pictures"] if number >= 0})
        plateaus = mark_pictures(fine, pictures, used)
        print(f"plateaus marked in {len(plateaus)} of {len(used)} pictures", flush=True)
        fine = train_fine(samples, options.steps[1], share=_plateaus(samples, plateaus), network=fine)
    marker = train_marker(samples, options.steps[2])
    save_networks(options.out, {"coarse": coarse, "fine": fine, "marker": marker})
    print(f"wrote {options.out}, {options.out.stat().st_size / 1e6:.2f} MB")


def train_coarse(samples: Arrays, steps: int) -> CoarseNetwork:
    """Train the network that says where knees and markers are."""
    network = CoarseNetwork()
    films = samples["coarse"]

    def loss(rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        x = films[rows].astype(np.float32)[:, None] / np.float32(255)
        targets = np.stack([_blobs(samples["knees"][rows], films.shape[1]),
                            _blobs(samples["markers"][rows], films.shape[1])], axis=1)  # fmt: skip
        if rng.random() < 0.5:
            x, targets = x[..., ::-1], targets[..., ::-1]
        target = torch.from_numpy(np.ascontiguousarray(targets))
        logits = network(_vary(x, rng))
        return F.binary_cross_entropy_with_logits(logits, target, weight=1 + 30 * target)

    _fit(network, loss, len(films), steps, batch=8, rate=2e-3, name="coarse")
    return network


def train_fine(
    samples: Arrays, steps: int, *, share: tuple[NDArray[np.int64], NDArray[np.float32]],
    network: FineNetwork | None = None,
) -> FineNetwork:  # fmt: skip
    """Train the network that marks the plateau.

    Args:
        samples: See ``kneeal.finder.samples.collect``.
        steps: Batches.
        share: The windows to learn from and their points, as `_plateaus` gives them.
        network: One to go on with.
    """
    network = network or FineNetwork()
    chosen, points = share
    windows, kinds = samples["fine"], samples["kinds"]

    def loss(rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        x = stretch(windows[chosen[rows]])
        ends = points[rows]
        if rng.random() < 0.5:
            x = x[..., ::-1]
            ends = (ends * np.array([-1, 1], np.float32))[:, ::-1]
        maps, kind = network(_vary(x, rng))
        target = torch.from_numpy(np.ascontiguousarray(ends))
        known = ~torch.isnan(target).flatten(1).any(1) & (target.abs() < FINE_PX * FINE_MM / 2 - 4).flatten(1).all(1)
        total = F.cross_entropy(kind, torch.from_numpy(kinds[chosen[rows]].astype(np.int64)))
        if known.any():
            found, _ = map_points(maps[known])
            total = total + 0.3 * F.smooth_l1_loss(found, target[known], beta=2.0)
            total = total + 0.5 * _map_loss(maps[known], target[known])
        return total

    _fit(network, loss, len(chosen), steps, batch=16, rate=2e-3, name="fine")
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


def mark_pictures(network: FineNetwork, pictures: list[Path], numbers: Iterable[int]) -> dict[int, NDArray[np.float64]]:
    """The plateau of each picture in which marks from several poses agree: mm from the middle, [2, 2].

    Args:
        network: What marks them.
        pictures: All pictures.
        numbers: Which of them to mark.
    """
    network.eval()
    marked = {}
    middle, spacing = (120.0, 120.0), (0.8, 0.8)
    for number in numbers:
        path = pictures[number]
        leg = read_leg(path, path.stem[-1])
        # On a film, with shafts: the network has not seen pictures that end above and below the joint.
        film = np.rint(place_leg(leg, Pose(middle, 0.0), (300, 300), spacing[0]) * 255).astype(np.uint8)
        found = []
        for flip in (False, True):
            seen = np.ascontiguousarray(film[:, ::-1]) if flip else film
            windows = np.stack([cut_window(seen, spacing, middle, turn, FINE_PX, FINE_MM) for turn in _TURNS])
            with torch.no_grad():
                points, _ = map_points(network(torch.from_numpy(stretch(windows)))[0])
            for turn, pair in zip(_TURNS, points.numpy().astype(np.float64), strict=True):
                ends = to_film(pair, middle, turn) - middle
                found.append((ends * (-1, 1))[::-1] if flip else ends)
        marks = np.array(found)
        median = np.median(marks, axis=0)
        if np.median(np.abs(marks - median), axis=0).max() < _SCATTER_MM:
            marked[number] = median + leg.middle
    return marked


def _plateaus(
    samples: Arrays, marked: dict[int, NDArray[np.float64]] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The windows to learn from and their points; those of real pictures from the marks, where there are some."""
    points = samples["points"].copy()
    for row, number in enumerate(samples["pictures"]):
        if number >= 0 and marked is not None and int(number) in marked:
            turn, x, y = samples["frames"][row]
            provisional = np.array([0.0, 10.0])
            points[row] = to_film(marked[int(number)] - provisional, (float(x), float(y)), float(turn))
    usable = ~np.isnan(points).any(axis=(1, 2)) | (samples["kinds"] != NATURAL) | (samples["pictures"] >= 0)
    return np.flatnonzero(usable), points[usable]


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
    network.train()
    started, recent = time.perf_counter(), 0.0
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
            print(
                f"{name} {step + 1}/{steps} loss {recent / since:.4f} {time.perf_counter() - started:.0f} s", flush=True
            )
            recent = 0.0
    network.eval()


def _shuffled(n: int, batch: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
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
    return torch.from_numpy(np.clip(x**gamma * scale + level + noise, 0, 1).astype(np.float32))


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


def _samples(films: int, seed: int, pictures: list[Path], workers: int, shards: Path | None) -> Arrays:
    found = sorted(shards.glob("*.npz")) if shards else []
    if found:
        parts = [dict(np.load(path, allow_pickle=False)) for path in found]
    else:
        share = math.ceil(films / workers)
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            parts = list(pool.map(collect, [share] * workers, range(seed, seed + workers), [pictures] * workers))
        if shards:
            shards.mkdir(parents=True, exist_ok=True)
            for k, part in enumerate(parts):
                np.savez(shards / f"{seed + k}.npz", **part)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


if __name__ == "__main__":
    main()
