"""Large pools: cost per knee as the pool grows, and selecting from a stream of a million knees."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch
from parts import Setting
from timing import Row, now, since

from kneeal import acquisition
from kneeal.acquisition import Needs, Posterior, streaming


def growth(s: Setting, sizes: tuple[int, ...]) -> list[Row]:
    """Milliseconds of CPU a knee in pools of several sizes; the least of a few turns for the small ones."""
    found = []
    base = 0.0
    for n in sizes:
        larger = replace(s, n_knees=n)
        runner, checkpoint = larger.runner(), larger.checkpoint(larger.network())
        turns = []
        for _ in range(2 if n > sizes[0] else 4):
            start = now()
            runner.predict(checkpoint, 0, larger.ids, Needs(Posterior.SAMPLES, n_samples=s.n_samples))
            turns.append(since(start))
        clock, cpu = min(t.clock for t in turns) / n * 1e3, min(t.cpu for t in turns) / n * 1e3
        cost = clock if s.bf16 else cpu
        base = base or cost
        found.append(
            Row(
                f"pool prediction of {n:,} knees, {s}, {s.n_samples} samples",
                f"{clock:.3f} ms per knee by the clock, {cpu:.3f} of CPU",
                f"{sizes[0]:,} knees",
                f"{base / cost:.2f}x" + ("" if s.bf16 else " CPU"),
                "constant",
            )
        )
    return found


def stream(n: int) -> list[Row]:
    """Score and select by every strategy that takes a stream, each in a process whose peak of memory is its own."""
    found = []
    for name in _names():
        done = subprocess.run([sys.executable, __file__, name, str(n)], capture_output=True, text=True, check=True)
        got = json.loads(done.stdout)
        found.append(
            Row(
                f"score by `{name}` and select 50 of {n:,} knees, {got['samples']}, 5 grades, streamed",
                f"{got['clock']:.1f} s by the clock, {got['cpu']:.1f} s of CPU, peak {got['gib']:.2f} GiB",
                f"{got['before']:.2f} GiB with torch and the ids, before the first chunk",
                aim="60 s, 2 GiB" if n >= 10**6 else "",
            )
        )
    return found


def _names() -> list[str]:
    """Strategies that score a knee by itself, each once, whatever its number of names."""
    names: dict[type[acquisition.Strategy], str] = {}
    for name in sorted(acquisition.available(), key=lambda name: name != "mi_mcd"):
        if streaming.supports(acquisition.get(name)):
            names.setdefault(type(acquisition.get(name)), name)
    return list(names.values())


def _select(name: str, n: int) -> dict[str, float | str]:
    strategy = acquisition.get(name)
    n_samples = strategy.needs.n_samples
    generator = torch.Generator().manual_seed(0)
    block = torch.randn(min(n, 16384), n_samples, 5, generator=generator).log_softmax(-1)
    # The probabilities are given; a block is shifted from chunk to chunk, so that knees differ.
    ids = [f"{k:07d}_L" for k in range(n)]
    before, start = _peak(), now()
    stream = (
        acquisition.Predictions(tuple(ids[a : a + 16384]), block.roll(a // 16384, dims=0)[: n - a])
        for a in range(0, n, 16384)
    )
    chosen = streaming.select(strategy, stream, min(50, n), seed=0)
    turn = since(start)
    if len(set(chosen)) != min(50, n):
        raise RuntimeError(f"{len(chosen)} knees were chosen")
    samples = f"{n_samples} sample{'s' if n_samples > 1 else ''}"
    return {"clock": turn.clock, "cpu": turn.cpu, "gib": _peak(), "before": before, "samples": samples}


def _peak() -> float:
    """Most GiB that this process has had resident.

    `getrusage` has another number: a process inherits the peak of the one that started it, here of all sections before.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:  # not a Linux system
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


if __name__ == "__main__":
    print(json.dumps(_select(sys.argv[1], int(sys.argv[2]))))
