"""Time and memory of every strategy on a large pool: writes docs/strategies-benchmark.md.

    python benchmarks/strategies.py [--knees 100000] [--only NAME ...]

Each strategy selects in a process of its own, so that the peak of its memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

N_FEATURES, N_SAMPLES, N_GRADES, N_LABELED, N_QUERY = 512, 50, 5, 500, 50
PAGE = Path(__file__).parents[1] / "docs" / "strategies-benchmark.md"


def measure(name: str, n_knees: int) -> dict[str, float]:
    """Select once, in this process."""
    import torch

    from kneeal import acquisition
    from kneeal.acquisition import Posterior, Predictions

    torch.set_num_threads(2)
    strategy = acquisition.get(name)
    generator = torch.Generator().manual_seed(0)
    k = {Posterior.NONE: 0, Posterior.POINT: 1, Posterior.SAMPLES: N_SAMPLES}[strategy.needs.posterior]

    def knees(n: int, prefix: str) -> Predictions:
        # Features in a few hundred clumps of unequal size, and probabilities that go with the clump, so that
        # neither clusters nor uncertainties are all alike.
        clumps = torch.randn(300, N_FEATURES, generator=generator)
        share = torch.rand(300, generator=generator).cumsum(0)
        clump = torch.searchsorted(share, torch.rand(n, generator=generator) * share[-1])
        log_probs = None
        if k:
            mean = 2.0 * torch.randn(300, 1, N_GRADES, generator=generator)
            log_probs = torch.randn(n, k, N_GRADES, generator=generator).add_(mean[clump]).log_softmax(-1)
        features = None
        if strategy.needs.features:
            features = torch.randn(n, N_FEATURES, generator=generator).add_(clumps[clump])
        counts = torch.arange(1, N_GRADES + 1) * N_LABELED // 15 if strategy.needs.label_counts else None
        return Predictions(tuple(f"{prefix}{i:07d}" for i in range(n)), log_probs, features, counts)

    pool, labeled = knees(n_knees, "pool"), knees(N_LABELED, "labeled")
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    chosen = strategy.select(pool, N_QUERY, labeled=labeled if strategy.needs.features else None, seed=0)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    if len(set(chosen)) != N_QUERY:
        raise RuntimeError(f"{name} chose {len(set(chosen))} knees")
    return {
        "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_gib": after.ru_maxrss / 2**20,
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Measure all strategies, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--knees", type=int, default=100_000)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.knees)))
        return

    import torch

    from kneeal import acquisition

    rows = []
    for name in arguments.only or acquisition.available():
        load = os.getloadavg()[0]
        command = [sys.executable, __file__, "--one", name, "--knees", str(arguments.knees)]
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        found = json.loads(done.stdout)
        rows.append((name, acquisition.describe(name), found, load))
        print(
            f"{name:26s}{found['seconds']:8.1f} s{found['cpu_seconds']:8.1f} CPU s"
            f"{found['peak_gib']:8.2f} GiB   load {load:.1f}",
            flush=True,
        )
    if arguments.only:
        return
    lines = [
        "# Time and memory of the strategies",
        "",
        f"One query of {N_QUERY} from {arguments.knees:,} knees with {N_FEATURES} features, {N_SAMPLES} posterior "
        f"samples of {N_GRADES} grades and {N_LABELED} labeled knees, each in a process of its own with two threads. "
        "Memory is the peak of the whole process, torch and the pool itself included. Written by "
        "`make bench-strategies`.",
        "",
        f"Machine: {os.cpu_count()} cores ({platform.machine()}), torch {torch.__version__}. The load is how many "
        "processes wanted to run when the strategy started (one-minute mean): above the number of cores, the seconds "
        "are more than the strategy needs by itself. CPU seconds are those of this process alone, over both threads.",
        "",
        "| strategy | seconds | CPU seconds | peak GiB | load |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, _, found, load in rows:
        lines.append(
            f"| `{name}` | {found['seconds']:.1f} | {found['cpu_seconds']:.1f} | {found['peak_gib']:.2f} | {load:.1f} |"
        )
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
