"""How often a report of equal strategies shows a win, and how often its intervals hold what is true.

python benchmarks/false_wins.py [--reports 1000] [--seeds-are normal|uniform|two-valued]

Every strategy has the same expected recall of each grade, over training seeds and over patients. What differs by
chance: the accuracy of a seed's network (the training SD), how well a strategy does with a patient, whatever the seed,
and the grade that a network gives to one knee. The patients of the test set are drawn anew for each report and are the
same for all strategies, with one or two knees and a difficulty of their own. Reports are decided by the package's own
functions.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.special import ndtr, ndtri

from kneeal.report.claims import decide_spread
from kneeal.report.comparisons import decide
from kneeal.stats.crossed import Accuracies, Estimate, TestSet, spread_ratio

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks" / "speed"))
from page import put  # noqa: E402

PAGE = ROOT / "docs" / "statistics.md"
#: Test patients, shares of the grades (the OAI's), and the recall of each grade.
N_PATIENTS = 600
GRADES = (0.39, 0.18, 0.25, 0.14, 0.04)
RECALL = np.array([0.7, 0.3, 0.5, 0.6, 0.5])
#: SD, on the probit scale, of a patient's difficulty and of how well one strategy does with a patient.
DIFFICULTY, STRATEGY_AND_PATIENT = 1.0, 0.3
#: How the accuracies of a strategy's seeds lie around its own, with a standard deviation of 1.
SEEDS_ARE: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "uniform": lambda rng, shape: rng.uniform(-(3**0.5), 3**0.5, shape),
    "two-valued": lambda rng, shape: rng.choice([-1.0, 1.0], shape),
}
COUNTS = ("win", "claim of a win over random", "claim of steadiness")
INTERVALS = ("difference", "mean", "ratio of SDs", "one run")


def draw(
    rng: np.random.Generator, n_strategies: int, n_seeds: int, sd: float, seeds_are: str = "normal"
) -> tuple[TestSet, list[Accuracies]]:
    """The measured accuracies of equal strategies on one test set.

    Args:
        rng: Generator.
        n_strategies: Strategies.
        n_seeds: Seeds of each.
        sd: Standard deviation of a trained network's accuracy, in points.
        seeds_are: How they lie.
    """
    patient = np.repeat(np.arange(N_PATIENTS), rng.integers(1, 3, N_PATIENTS))
    kl = rng.choice(5, len(patient), p=GRADES)
    kl[:10] = np.arange(10) // 2
    test_set = TestSet.of(kl.tolist(), [f"{p:04d}" for p in patient])
    training = sd / 100 * SEEDS_ARE[seeds_are](rng, (n_strategies, n_seeds, 1))
    expected = ndtri(np.clip(RECALL[kl] + training, 0.01, 0.99))
    total = np.sqrt(1 + DIFFICULTY**2 + STRATEGY_AND_PATIENT**2)
    ease = DIFFICULTY * rng.normal(size=N_PATIENTS)
    ease = ease + STRATEGY_AND_PATIENT * rng.normal(size=(n_strategies, 1, N_PATIENTS))
    chance = ndtr(total * expected + ease[:, :, patient])
    correct = rng.random(chance.shape, dtype=np.float32) < chance
    return test_set, [test_set.balanced_accuracy(c) for c in correct]


def simulate(
    n_strategies: int, n_seeds: int, sd: float, n_reports: int, seeds_are: str = "normal"
) -> tuple[dict[str, float], dict[str, float]]:
    """Shares of reports with a false win, by rule, and shares of intervals that hold what is true.

    Args:
        n_strategies: Equal strategies in a report; the first is called random.
        n_seeds: Seeds of each.
        sd: Training SD, points.
        n_reports: Simulated reports.
        seeds_are: How the seeds' accuracies lie.
    """
    rng = np.random.default_rng([n_strategies, n_seeds, int(100 * sd)])
    false, covered, intervals = Counter(dict.fromkeys(COUNTS, 0)), Counter(), Counter()
    truth = {"difference": 0.0, "mean": RECALL.mean(), "ratio of SDs": 1.0, "one run": RECALL.mean()}

    def check(name: str, low: float, high: float) -> None:
        intervals[name] += 1
        covered[name] += low <= truth[name] <= high

    for _ in range(n_reports):
        _, strategies = draw(rng, n_strategies, n_seeds, sd, seeds_are)
        names = [str(k) for k in range(n_strategies)]
        measured = dict(zip(names, strategies, strict=True))
        compared = decide({(a, b): measured[a] - measured[b] for a, b in itertools.combinations(names, 2)})
        beating = decide({(a, "0"): measured[a] - measured["0"] for a in names[1:]})
        pairs = zip(names[1::2], names[2::2], strict=False)
        ratios = {a: r for a, b in pairs if (r := spread_ratio(measured[a].values, measured[b].values))}
        steady = decide_spread(ratios)
        false["win"] += any(c.winner for c in compared)
        false["claim of a win over random"] += any(c.winner for c in beating)
        false["claim of steadiness"] += any(v in ("win", "loss") for v in steady.values())
        for c in compared:
            check("difference", *c.estimate.interval())
        for a in strategies:
            check("mean", *Estimate.of(a).interval())
        for r in ratios.values():
            check("ratio of SDs", r.low, r.high)
        if sd == 0:  # the interval of one run is of that network, whose own accuracy is known only then
            for a in strategies:
                check("one run", *Estimate.of(Accuracies(a.values[:1], a.influence[:1])).interval())
    return (
        {name: count / n_reports for name, count in false.items()},
        {name: covered[name] / intervals[name] for name in INTERVALS if intervals[name]},
    )


def main() -> None:
    """Simulate the grid and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=1000)
    parser.add_argument("--strategies", type=int, nargs="+", default=[9, 28])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 10, 20])
    parser.add_argument("--sd", type=float, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--seeds-are", choices=SEEDS_ARE, default="normal")
    parser.add_argument("--print-only", action="store_true")
    options = parser.parse_args()
    start, lines = time.perf_counter(), []
    for n_strategies, n_seeds, sd in itertools.product(options.strategies, options.seeds, options.sd):
        false, held = simulate(n_strategies, n_seeds, sd, options.reports, options.seeds_are)
        shown = [f"{100 * false[name]:.1f}" for name in COUNTS]
        shown += [f"{100 * held[name]:.1f}" if name in held else "" for name in INTERVALS]
        lines.append(f"| {n_strategies} | {n_seeds} | {sd:g} | {' | '.join(shown)} |")
        print(lines[-1], flush=True)
    header = ["strategies", "seeds", "training SD, points", *COUNTS, *INTERVALS]
    head = [f"| {' | '.join(header)} |", f"|{' ---: |' * len(header)}"]
    if not options.print_only:
        put(
            PAGE,
            "false wins" if options.seeds_are == "normal" else f"false wins, {options.seeds_are} seeds",
            "\n".join([*head, *lines])
            + f"\n\nShares in percent of {options.reports:,} simulated reports, seeds {options.seeds_are}: the three "
            "columns after the training SD with at least one false win, the last four of 95 % intervals that hold what "
            "is true. "
            f"{(time.perf_counter() - start) / 60:.0f} minutes on {os.cpu_count()} cores ({platform.machine()}), "
            f"load {os.getloadavg()[0]:.1f}, numpy {np.__version__}; written by `make bench-false-wins`.",
            by="benchmarks/false_wins.py",
        )


if __name__ == "__main__":
    main()
