"""Our choices beside those of baal and scikit-activeml on the same inputs: writes docs/peers.md.

    python benchmarks/peers.py [--repeat 7]

The peers are run, in this process, and nothing of them is part of kneeal. One that cannot be run says so in its row.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kneeal import acquisition
from kneeal.acquisition import Predictions
from kneeal.acquisition.geometry import squared_distances

PAGE = Path(__file__).parents[1] / "docs" / "peers.md"
N, F, K, C, N_LABELED, N_QUERY, N_JOINT = 1000, 16, 20, 5, 8, 12, 4
N_CLUMPS = N_LABELED + N_QUERY
SEED = 0
#: Seconds after which a call is not repeated.
LONG = 1.0


class Inputs:
    """A pool in clumps of unequal size, its labeled knees (one in each of the first clumps), and the peers' forms."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(SEED)
        centers = 12.0 * torch.randn(N_CLUMPS, F, generator=generator)
        share = torch.linspace(1.0, 2.0, N_CLUMPS)
        clump = torch.multinomial(share, N, replacement=True, generator=generator)
        features = centers[clump] + torch.randn(N, F, generator=generator)
        known = centers[:N_LABELED] + torch.randn(N_LABELED, F, generator=generator)
        mean = 2.0 * torch.randn(N_CLUMPS, 1, C, generator=generator)
        self.log_probs = (mean[clump] + torch.randn(N, K, C, generator=generator)).double().log_softmax(-1)
        self.features, self.known, self.clump = features.double(), known.double(), clump
        ids = tuple(f"k{k:04d}" for k in range(N))
        self.pool = Predictions(ids, self.log_probs, self.features)
        self.labeled = Predictions(tuple(f"l{k}" for k in range(N_LABELED)), None, self.known)
        self.row = {i: k for k, i in enumerate(ids)}
        # The peers' forms: probabilities [N, C, K], all knees with the unlabeled ones first, no grade for those.
        self.probs = self.log_probs.exp().transpose(1, 2).contiguous().numpy()
        self.x = torch.cat([self.features, self.known]).numpy()
        self.y = np.concatenate([np.full(N, np.nan), np.arange(N_LABELED) % C])

    def point(self) -> Predictions:
        """The mean over the samples as one sample: what strategies on points are given."""
        mean = self.log_probs.exp().mean(dim=1, keepdim=True).log()
        return Predictions(self.pool.ids, mean, self.features)

    def ours(self, name: str, n: int, predictions: Predictions | None = None, **options: Any) -> list[int]:
        """Rows that our strategy chooses."""
        strategy = acquisition.get(name, **options)
        labeled = self.labeled if strategy.needs.features else None
        return [self.row[i] for i in strategy.select(predictions or self.pool, n, labeled=labeled, seed=SEED)]


Rows = list[int]
#: Name, what the peer is, ours, the peer's, and what differs in words and numbers.
Comparison = tuple[str, str, Callable[[], Rows], Callable[[], Rows], Callable[[Rows, Rows], str]]


def comparisons(inputs: Inputs) -> list[Comparison]:
    """All comparisons; importing the peer is part of running it."""
    point = inputs.point()

    def baal(name: str, n: int = N_QUERY, *, probs: Any = inputs.probs, **options: Any) -> Callable[[], Rows]:
        def run() -> Rows:
            from baal.active.heuristics import heuristics

            targets = (inputs.probs,) if name == "EPIG" else ()
            ranks = getattr(heuristics, name)(**options)(probs, *targets)
            return [int(r) for r in ranks[:n]]

        return run

    def skactiveml(name: str, *, classifier: bool = False, **options: Any) -> Callable[[], Rows]:
        def run() -> Rows:
            from skactiveml import pool

            strategy = getattr(pool, name)(random_state=SEED, **options)
            more = {"clf": fixed_classifier(inputs), "fit_clf": False} if classifier else {}
            return [int(r) for r in strategy.query(inputs.x, inputs.y, batch_size=N_QUERY, **more)]

        return run

    def ours(name: str, n: int = N_QUERY, *, at: Predictions | None = None, **options: Any) -> Callable[[], Rows]:
        return lambda: inputs.ours(name, n, at, **options)

    delta = 6.0
    return [
        ("entropy_mcd", "baal Entropy, on the mean", ours("entropy_mcd"),
         baal("Entropy", probs=inputs.probs.mean(axis=2)), same_scores),
        ("entropy", "scikit-activeml UncertaintySampling(entropy)", ours("entropy", at=point),
         skactiveml("UncertaintySampling", classifier=True, method="entropy"), same_scores),
        ("margin", "scikit-activeml UncertaintySampling(margin_sampling)", ours("margin", at=point),
         skactiveml("UncertaintySampling", classifier=True, method="margin_sampling"), same_scores),
        ("least_confidence", "scikit-activeml UncertaintySampling(least_confident)", ours("least_confidence", at=point),
         skactiveml("UncertaintySampling", classifier=True, method="least_confident"), same_scores),
        ("bald", "baal BALD", ours("bald"), baal("BALD"), same_scores),
        ("batch_bald", f"baal BatchBALD, {N_JOINT} knees", ours("batch_bald", N_JOINT),
         baal("BatchBALD", N_JOINT, num_samples=N_JOINT, num_draw=500),
         lambda a, b: f"joint information {joint_information(inputs, a):.4f} nats against "
         f"{joint_information(inputs, b):.4f}: the peer draws configurations where ours sums all of them, "
         "chooses one knee more than asked and gives those whose gain was highest when they were chosen"),
        ("epig", "baal EPIG, the pool as targets", ours("epig", n_targets=N), baal("EPIG"),
         lambda a, b: f"{same_scores(a, b)}the peer computes in single precision"),
        ("badge", "scikit-activeml Badge", ours("badge", at=point), skactiveml("Badge", classifier=True),
         lambda a, b: f"the first is {'the same' if a[0] == b[0] else 'another'}; the others are drawn, each library "
         f"by its own random numbers. {badge_chances(inputs, point)}"),
        ("coreset", "scikit-activeml CoreSet", ours("coreset"), skactiveml("CoreSet"),
         lambda a, b: f"largest distance of a knee to a labeled one afterwards: {radius(inputs, a):.3f} against "
         f"{radius(inputs, b):.3f}"),
        ("typiclust", "scikit-activeml TypiClust", ours("typiclust", n_neighbors=5, normalize=False),
         skactiveml("TypiClust"),
         lambda a, b: f"of {N_QUERY} clumps without a label {clumps(inputs, a)} against {clumps(inputs, b)} get one; "
         "k-means begins at random in both"),
        ("probcover", f"scikit-activeml ProbCover, radius {delta:g}", ours("probcover", delta=delta, normalize=False),
         skactiveml("ProbCover", deltas=[delta]),
         lambda a, b: f"knees covered: {covered(inputs, a, delta)} against {covered(inputs, b, delta)}; knees of equal "
         "gain are decided at random in both"),
        ("max_herding", "scikit-activeml MaxHerding, Gaussian kernel of length scale 1", ours("max_herding"),
         skactiveml("MaxHerding", metric="rbf", metric_dict={"gamma": 1.0}), lambda a, b: same_scores(a, b)
         and "the peer covers the labeled knees as well"),
    ]  # fmt: skip


def fixed_classifier(inputs: Inputs) -> Any:
    """A classifier of scikit-activeml that gives our probabilities for the unlabeled knees."""
    from skactiveml.base import SkactivemlClassifier

    class Fixed(SkactivemlClassifier):
        def fit(self, X, y, sample_weight=None):  # noqa: N803 - the peer's name
            return self

        def predict_proba(self, X):  # noqa: N803 - the peer's name
            if len(X) != N:
                raise ValueError("only the unlabeled knees have probabilities")
            return inputs.probs.mean(axis=2)

    fixed = Fixed(classes=list(range(C)))
    fixed.classes_ = np.arange(C)
    return fixed


def same_scores(a: Rows, b: Rows) -> str:
    """Why one and the same formula may still choose differently."""
    return "" if set(a) == set(b) else "one formula: knees of scores that are equal, or equal within rounding; "


def joint_information(inputs: Inputs, rows: Rows) -> float:
    """Mutual information of the grades of some knees together with the weights, summed over all configurations."""
    probs = torch.ones(1, K, dtype=torch.float64)
    for row in rows:
        probs = (probs[:, None] * inputs.log_probs[row].exp().T[None]).reshape(-1, K)
    expected = torch.special.entr(inputs.log_probs[rows].exp()).sum(dim=(0, 2)).mean()
    return float(torch.special.entr(probs.mean(dim=1)).sum() - expected)


def badge_chances(inputs: Inputs, point: Predictions, n_seeds: int = 400) -> str:
    """How the second choice of ours is spread over clumps, beside the chances by the source and by the peer."""
    from skactiveml.pool import Badge

    peer = Badge(random_state=SEED)
    more = {"clf": fixed_classifier(inputs), "fit_clf": False, "return_utilities": True}
    first, utilities = peer.query(inputs.x, inputs.y, batch_size=2, **more)
    probs = inputs.probs.mean(axis=2)
    errors = probs - np.eye(C)[probs.argmax(axis=1)]
    gradients = (errors[:, :, None] * inputs.features.numpy()[:, None, :]).reshape(N, -1)
    distances = np.square(gradients - gradients[first[0]]).sum(axis=1)
    lengths = np.square(gradients).sum(axis=1)
    strategy = acquisition.get("badge")
    second = [inputs.row[strategy.select(point, 2, seed=seed)[1]] for seed in range(n_seeds)]
    found = np.bincount(inputs.clump[second], minlength=N_CLUMPS) / n_seeds

    def over_clumps(weights: Any) -> Any:
        return np.bincount(inputs.clump, weights / weights.sum(), minlength=N_CLUMPS)

    def off(a: Any, b: Any) -> float:
        return float(abs(a - b).sum() / 2)

    source, theirs = over_clumps(distances), over_clumps(np.nan_to_num(utilities[1][:N]))
    with_origin = over_clumps(np.minimum(distances, lengths))
    rng = np.random.default_rng(SEED)
    chance = np.quantile([off(rng.multinomial(n_seeds, source) / n_seeds, source) for _ in range(1000)], 0.95)
    return (
        f"Over {n_seeds} seeds our second choice falls on the clumps within {off(found, source):.3f} (total variation) "
        f"of k-means++ as in the source (draws from just that are within {chance:.3f} in 95 of 100 cases) and within "
        f"{off(found, theirs):.3f} of the chances that the peer computes. Those are within "
        f"{off(theirs, with_origin):.3f} of k-means++ with the origin counted as chosen"
    )


def radius(inputs: Inputs, rows: Rows) -> float:
    """Largest distance of a knee to the nearest labeled or chosen one."""
    return float(squared_distances(inputs.features, centers(inputs, rows)).min(dim=1).values.max().sqrt())


def covered(inputs: Inputs, rows: Rows, delta: float) -> int:
    """Knees within `delta` of a labeled or chosen one."""
    return int((squared_distances(inputs.features, centers(inputs, rows)).min(dim=1).values <= delta**2).sum())


def centers(inputs: Inputs, rows: Rows) -> torch.Tensor:
    """Features of the labeled and the chosen knees."""
    return torch.cat([inputs.known, inputs.features[rows]])


def clumps(inputs: Inputs, rows: Rows) -> int:
    """Clumps without a labeled knee that get a chosen one."""
    return len({int(c) for c in inputs.clump[rows]} - set(range(N_LABELED)))


def best_seconds(call: Callable[[], Rows], repeat: int) -> tuple[Rows, float]:
    """The choice, and the least processor time of several; the first call, which imports, is not counted."""
    chosen, times = call(), []
    while len(times) < repeat and sum(times) < LONG:
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return chosen, min(times)


def row(comparison: Comparison, repeat: int) -> str:
    """One line of the table."""
    name, peer, ours, theirs, differs = comparison
    torch.manual_seed(SEED)  # what a peer draws by the global random state
    np.random.seed(SEED)
    a, seconds = best_seconds(ours, repeat)
    try:
        b, peer_seconds = best_seconds(theirs, repeat)
        same, words = len(set(a) & set(b)), differs(a, b)
    except Exception as error:  # whatever a peer raises is said in its row
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200].replace("|", "/")
        return f"| `{name}` | {peer} | does not run | {said} | {1e3 * seconds:.1f} | | |"
    ratio = peer_seconds / seconds
    shown = f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"
    return (
        f"| `{name}` | {peer} | {same} of {len(a)} | {words} | {1e3 * seconds:.1f} | {1e3 * peer_seconds:.1f} | "
        f"{shown} |"
    )


def page(rows: Sequence[str]) -> str:
    """The whole page."""
    peers = ", ".join(f"{name} {_version(name)}" for name in ("baal", "scikit-activeml", "torch", "numpy"))
    return "\n".join(
        [
            "# The same choice as other libraries?",
            "",
            "How often our strategies choose the same knees as baal and scikit-activeml, and how long both take. Each "
            f"queries {N_QUERY} of {N:,} knees with {F} features in {N_CLUMPS} clusters, {K} posterior samples of {C} "
            f"grades and {N_LABELED} labeled knees, all in double precision. Strategies that need a point prediction "
            'get the mean over the samples. "Same" counts the knees that both chose. Times are CPU time in one process '
            "with one thread, the minimum of several, without start-up; the last column is the peer's over ours: above "
            "1, ours is faster. Inputs this small compare choices; speed at size is in "
            "[strategies-benchmark.md](strategies-benchmark.md). Written by `make bench-peers`.",
            "",
            f"Machine: {os.cpu_count()} cores ({platform.machine()}), {peers}; load {os.getloadavg()[0]:.1f} at the "
            "end.",
            "",
            "| strategy | peer | same | what differs | ours, ms | peer, ms | peer / ours |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def main() -> None:
    """Compare, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=7)
    repeat = parser.parse_args().repeat
    torch.set_num_threads(1)
    rows = []
    for comparison in comparisons(Inputs()):
        rows.append(row(comparison, repeat))
        print(rows[-1], flush=True)
    PAGE.write_text(page(rows), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
