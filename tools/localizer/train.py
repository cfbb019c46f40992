"""Train the localizer: `python -m tools.localizer.train --out localizer.npz [--pictures DIR] [--work DIR]`.

Radiographs are composed from synthetic knees and, where a folder of pictures of single knees is given, from those as
well, of every tone and size, with and without metal; others show no knee at all. Nobody has marked the plateau in the
pictures, so a network that has seen synthetic plateaus alone marks each picture in several poses first; the median of
marks that agree becomes the picture's plateau, and the others are not used.

With `--work` the samples and each finished network are kept, so that a killed run goes on from there; with
`--only marker` that network alone is trained, and the others are taken from `--base`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kneeal.files import atomic_file
from kneeal.localizer.networks import FINE_MM, FINE_PX, NAMES, FineNetwork, map_points
from kneeal.localizer.windows import cut_window, stretch, to_radiograph
from tools.localizer.checkpoints import read_networks, save_networks
from tools.localizer.fitting import train_coarse, train_fine, train_marker, train_metal
from tools.localizer.metal_samples import collect_metal
from tools.localizer.samples import MarkedPicture, collect, read_leg, real_pictures
from tools.radiographs.legs import Pose, place_leg

N = TypeVar("N", bound=nn.Module)
#: Poses in which a picture is marked, and how far in mm the marks may scatter.
_TURNS, _SCATTER_MM = (-9.0, 0.0, 9.0), 1.5
#: The first network of the plateau edges, which has seen synthetic knees alone, learns for this share of the steps,
#: from this share of the radiographs.
_FIRST, _FIRST_RADIOGRAPHS = 0.12, 0.15


def main(arguments: Sequence[str] | None = None) -> None:
    """Make samples, train the networks, write the weights."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    pictures = real_pictures(options.pictures) if options.pictures else []
    work = _work(options.work, options, len(pictures))
    wanted = options.only or NAMES
    networks = read_networks(options.base, tuple(name for name in NAMES if name not in wanted))

    def stage(name: str, train: Callable[[], N]) -> N:
        """One network: as the work folder keeps it, or trained now."""
        path = work / f"{name}.npz" if work else None
        # Each stage has its own seed, so that one that goes on gives the same as one that never stopped.
        torch.manual_seed(options.seed)
        if path is not None and path.is_file():
            network: N = read_networks(path, (name,))[name]  # type: ignore[assignment]
            return network
        network = train()
        if path is not None:
            save_networks(path, {name: network})
        return network

    coarse_steps, fine_steps, marker_steps, metal_steps = options.steps
    first: FineNetwork | None = None
    marked: tuple[MarkedPicture, ...] = ()
    if options.start:
        first = read_networks(options.start, ("fine",))["fine"]  # type: ignore[assignment]
    elif pictures:
        first_steps = max(1, round(_FIRST * fine_steps))
        n_first = max(2, round(_FIRST_RADIOGRAPHS * options.radiographs))
        first = stage("fine-first", lambda: train_fine(_samples("first", n_first, options, (), work), first_steps))
    if first is not None:
        marked = _marked(first, pictures, work)
        print(f"plateaus marked in {len(marked)} of {len(pictures)} pictures", flush=True)
    if "metal" in wanted:
        knees = _samples("knees", options.radiographs, options, marked, work, collect_metal)
        networks["metal"] = stage("metal", lambda: train_metal(knees, metal_steps))
    samples = _samples("samples", options.radiographs, options, marked, work) if {*wanted} - {"metal"} else {}
    if "marker" in wanted:
        networks["marker"] = stage("marker", lambda: train_marker(samples, marker_steps))
    if "coarse" in wanted:
        networks["coarse"] = stage("coarse", lambda: train_coarse(samples, coarse_steps))
    if "fine" in wanted:
        networks["fine"] = stage("fine", lambda: train_fine(samples, fine_steps, first))
    save_networks(options.out, {name: networks[name] for name in NAMES})
    print(f"wrote {options.out}, {options.out.stat().st_size / 1e6:.2f} MB")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.localizer.train", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="where the weights go (.npz)")
    parser.add_argument("--radiographs", type=int, default=3600, help="radiographs to compose")
    parser.add_argument("--pictures", type=Path, help="folder with pictures of single knees, 101 mm wide")
    parser.add_argument("--workers", type=int, default=1, help="processes that compose radiographs")
    parser.add_argument("--threads", type=int, default=1, help="threads that train")
    parser.add_argument("--seed", type=int, default=9001, help="seed of the samples and of the networks")
    parser.add_argument("--work", type=Path, help="keep samples and finished networks in this folder, and use them")
    parser.add_argument("--steps", type=int, nargs=4, default=(3000, 10000, 2500, 2500), help="batches, by network")
    parser.add_argument("--only", nargs="+", choices=NAMES, help="train these alone")
    parser.add_argument("--start", type=Path, help="weights whose fine network marks the pictures and learns on")
    parser.add_argument("--base", type=Path, help="weights that give the others; by default those of the package")
    return parser


def _work(folder: Path | None, options: argparse.Namespace, n_pictures: int) -> Path | None:
    """The folder of these very options in the work folder: others do not mix with them."""
    if folder is None:
        return None
    start = hashlib.sha256(options.start.read_bytes()).hexdigest() if options.start else ""
    key = json.dumps([options.radiographs, options.seed, options.workers, list(options.steps), n_pictures, start])
    path: Path = folder / hashlib.sha256(key.encode()).hexdigest()[:12]
    path.mkdir(parents=True, exist_ok=True)
    return path


def mark_pictures(network: FineNetwork, pictures: list[Path], numbers: Iterable[int]) -> dict[int, NDArray[np.float64]]:
    """The plateau of each picture in which marks from several poses agree: mm from the center, [2, 2].

    Args:
        network: What marks them.
        pictures: All pictures.
        numbers: Which of them to mark.
    """
    network.eval()
    marked = {}
    center, spacing = (120.0, 120.0), (0.8, 0.8)
    for number in numbers:
        path = pictures[number]
        leg = read_leg(path, path.stem[-1])
        # On a radiograph, with shafts: the network has not seen pictures that end above and below the joint.
        radiograph = np.rint(place_leg(leg, Pose(center, 0.0), (300, 300), spacing[0]) * 255).astype(np.uint8)
        found = []
        for flip in (False, True):
            seen = np.ascontiguousarray(radiograph[:, ::-1]) if flip else radiograph
            windows = np.stack([cut_window(seen, spacing, center, turn, FINE_PX, FINE_MM) for turn in _TURNS])
            with torch.no_grad():
                points = map_points(network(torch.from_numpy(stretch(windows)))[0])
            for turn, pair in zip(_TURNS, points.numpy().astype(np.float64), strict=True):
                ends = to_radiograph(pair, center, turn) - center
                found.append((ends * (-1, 1))[::-1] if flip else ends)
        marks = np.array(found)
        median = np.median(marks, axis=0)
        if np.median(np.abs(marks - median), axis=0).max() < _SCATTER_MM:
            marked[number] = median + leg.center
    return marked


def _marked(network: FineNetwork, pictures: list[Path], work: Path | None) -> tuple[MarkedPicture, ...]:
    """The pictures whose plateau the network marks."""
    path = work / "plateaus.npz" if work else None
    if path is not None and path.is_file():
        kept = np.load(path, allow_pickle=False)
        plateaus = dict(zip(kept["numbers"].tolist(), kept["plateaus"], strict=True))
    else:
        plateaus = mark_pictures(network, pictures, range(len(pictures)))
        if path is not None:
            with atomic_file(path) as temporary, temporary.open("wb") as file:
                np.savez(file, numbers=np.array(list(plateaus), np.int64), plateaus=np.array(list(plateaus.values())))
    return tuple(MarkedPicture(pictures[number], plateau) for number, plateau in plateaus.items())


def _samples(
    name: str,
    radiographs: int,
    options: argparse.Namespace,
    pictures: Sequence[MarkedPicture],
    work: Path | None,
    collect: Callable[[int, int, Sequence[MarkedPicture]], dict[str, NDArray[Any]]] = collect,
) -> dict[str, NDArray[Any]]:
    path = work / f"{name}.npz" if work else None
    if path is not None and path.is_file():
        return dict(np.load(path, allow_pickle=False))
    seed, workers = options.seed, options.workers
    share = math.ceil(radiographs / workers)
    parts: list[dict[str, NDArray[Any]]]
    if workers == 1:
        parts = [collect(share, seed, pictures)]
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            parts = list(pool.map(collect, [share] * workers, range(seed, seed + workers), [pictures] * workers))
    samples: dict[str, Any] = {part: np.concatenate([one[part] for one in parts]) for part in parts[0]}
    if path is not None:
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **samples)
    return samples


if __name__ == "__main__":
    main()
