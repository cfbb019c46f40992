"""How often a report of equal strategies shows a win, and how often its intervals hold what is true.

python benchmarks/false_wins.py [--reports 1000] [--seeds-are normal|uniform|two-valued|heavy-tailed|collapsing]

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
#: How the accuracies of a strategy's seeds lie around its own, with a standard deviation of 1: "collapsing" has one
#: training in eight that fails.
SEEDS_ARE: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "uniform": lambda rng, shape: rng.uniform(-(3**0.5), 3**0.5, shape),
    "two-valued": lambda rng, shape: rng.choice([-1.0, 1.0], shape),
    "heavy-tailed": lambda rng, shape: rng.standard_t(3, shape) / 3**0.5,
    "collapsing": lambda rng, shape: (1 / 8 - (rng.random(shape) < 1 / 8)) / (7 / 64) ** 0.5,
}
COUNTS = ("win", "claim of a win over random")
INTERVALS = ("difference", "mean", "one run")
#: Rows of a claim of steadiness, with 9 strategies and with 28, and how the seeds lie.
PAIRS = (4, 13)
#: What the test set adds to a seed's accuracy there, over the training SD.
NOISE = 0.4
SPREADS = ("normal", "uniform", "heavy-tailed", "collapsing")


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
    truth = {"difference": 0.0, "mean": RECALL.mean(), "one run": RECALL.mean()}

    def check(name: str, low: float, high: float) -> None:
        intervals[name] += 1
        covered[name] += low <= truth[name] <= high

    for _ in range(n_reports):
        _, strategies = draw(rng, n_strategies, n_seeds, sd, seeds_are)
        names = [str(k) for k in range(n_strategies)]
        measured = dict(zip(names, strategies, strict=True))
        compared = decide({(a, b): measured[a] - measured[b] for a, b in itertools.combinations(names, 2)})
        beating = decide({(a, "0"): measured[a] - measured["0"] for a in names[1:]})
        false["win"] += any(c.winner for c in compared)
        false["claim of a win over random"] += any(c.winner for c in beating)
        for c in compared:
            check("difference", *c.estimate.interval())
        for a in strategies:
            check("mean", *Estimate.of(a).interval())
        if sd == 0:  # the interval of one run is of that network, whose own accuracy is known only then
            for a in strategies:
                check("one run", *Estimate.of(Accuracies(a.values[:1], a.influence[:1])).interval())
    return (
        {name: count / n_reports for name, count in false.items()},
        {name: covered[name] / intervals[name] for name in INTERVALS if intervals[name]},
    )


def simulate_spread(seeds_are: str, n_seeds: int, n_reports: int) -> list[float]:
    """Shares of reports with a false claim of steadiness, by number of rows, and of intervals of the ratio with 1.

    Args:
        seeds_are: How the seeds' accuracies lie.
        n_seeds: Seeds of each strategy.
        n_reports: Simulated reports.
    """
    rng = np.random.default_rng(n_seeds)
    false, held = [0.0] * len(PAIRS), 0.0
    for _ in range(n_reports):
        pairs = SEEDS_ARE[seeds_are](rng, (max(PAIRS), 2, n_seeds)) + NOISE * rng.normal(size=(max(PAIRS), 2, n_seeds))
        ratios = {str(k): spread_ratio(a, b) for k, (a, b) in enumerate(pairs)}
        for k, n_rows in enumerate(PAIRS):
            verdicts = decide_spread(dict(itertools.islice(ratios.items(), n_rows)))
            false[k] += any(v in ("win", "loss") for v in verdicts.values()) / n_reports
        held += np.mean([r.low <= 1 <= r.high for r in ratios.values()]) / n_reports
    return [*false, held]


def write_spread(n_reports: int, *, print_only: bool) -> None:
    """Simulate claims of steadiness and write their table."""
    header = ["seeds are", "seeds", *(f"false claim, {n} rows" for n in PAIRS), "interval of the ratio"]
    lines = [f"| {' | '.join(header)} |", f"| --- |{' ---: |' * (len(header) - 1)}"]
    for kind, n_seeds in itertools.product(SPREADS, (3, 5, 10, 20)):
        shown = [f"{100 * share:.1f}" for share in simulate_spread(kind, n_seeds, n_reports)]
        lines.append(f"| {kind} | {n_seeds} | {' | '.join(shown)} |")
        print(lines[-1], flush=True)
    note = f"Shares in percent of {n_reports:,} simulated reports of equal spreads; written by `make bench-false-wins`."
    if not print_only:
        put(PAGE, "false claims of steadiness", "\n".join([*lines, "", note]), by="benchmarks/false_wins.py")


def main() -> None:
    """Simulate the grid and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=1000)
    parser.add_argument("--strategies", type=int, nargs="+", default=[9, 28])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 10, 20])
    parser.add_argument("--sd", type=float, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--seeds-are", choices=SEEDS_ARE, default="normal")
    parser.add_argument("--spreads", action="store_true", help="claims of steadiness alone")
    parser.add_argument("--print-only", action="store_true")
    options = parser.parse_args()
    if options.spreads:
        write_spread(options.reports, print_only=options.print_only)
        return
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
            + f"\n\nShares in percent of {options.reports:,} simulated reports, seeds {options.seeds_are}: the two "
            "columns after the training SD with at least one false win, the last three of 95 % intervals that hold "
            "what is true. "
            f"{(time.perf_counter() - start) / 60:.0f} minutes on {os.cpu_count()} cores ({platform.machine()}), "
            f"load {os.getloadavg()[0]:.1f}, numpy {np.__version__}; written by `make bench-false-wins`.",
            by="benchmarks/false_wins.py",
        )


if __name__ == "__main__":
    main()
