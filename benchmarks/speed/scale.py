"""Large pools: cost per knee as the pool grows, and selecting from a stream of a million knees."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import replace

import torch
from parts import Setting
from timing import Row, now, since

from kneeal import acquisition
from kneeal.acquisition import Posterior, streaming
from kneeal.loop.runner import Needs


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
                f"{clock:.3f} ms a knee by the clock, {cpu:.3f} of CPU",
                f"{sizes[0]:,} knees",
                f"{base / cost:.2f}x" + ("" if s.bf16 else " CPU"),
                "constant",
            )
        )
    return found


def stream(n: int) -> list[Row]:
    """Score and select in a process of its own, whose peak of memory is its own."""
    done = subprocess.run([sys.executable, __file__, str(n)], capture_output=True, text=True, check=True)
    got = json.loads(done.stdout)
    return [
        Row(
            f"score by `mi_mcd` and select 50 of {n:,} knees, 50 samples, 5 grades, streamed",
            f"{got['clock']:.1f} s by the clock, {got['cpu']:.1f} s of CPU, peak {got['gib']:.2f} GiB",
            aim="60 s, 2 GiB" if n >= 10**6 else "",
        )
    ]


def _select(n: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    block = torch.randn(min(n, 16384), 50, 5, generator=generator).log_softmax(-1)
    start = now()
    # The probabilities are given; a block is shifted from chunk to chunk, so that knees differ.
    ids = [f"{k:07d}_L" for k in range(n)]
    stream = streaming.chunks(ids, lambda a, b: block.roll(a // 16384, dims=0)[: b - a])
    chosen = streaming.select(acquisition.get("mi_mcd"), stream, min(50, n), seed=0)
    turn = since(start)
    if len(set(chosen)) != min(50, n):
        raise RuntimeError(f"{len(chosen)} knees were chosen")
    return {
        "clock": turn.clock,
        "cpu": turn.cpu,
        "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "at": time.time(),
    }


if __name__ == "__main__":
    print(json.dumps(_select(int(sys.argv[1]))))
