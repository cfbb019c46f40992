"""Knees that jointly cover the pool: Core-set, ProbCover, MaxHerding and Uncertainty Herding.

Symbols of herding, which covers smoothly:
    h [F] the features of a knee scaled to length 1, k(x, x') = exp(-|h - h'|^2 / s^2) with the length scale s.
    S labeled and chosen knees, u(x) >= 0 the uncertainty (1 for MaxHerding).
    The coverage of S is the mean over the pool of u(x) max_{x' in S} k(x, x'). It is submodular, so the gain of a knee
    never increases as S grows, and an old gain is an upper bound (lazy greedy, Minoux, 1978).
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from kneeal.acquisition.batch import CoverageStrategy, lazy_best
from kneeal.acquisition.geometry import blocks, k_means, nearest, squared_distances, vectors
from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.registry import register
from kneeal.acquisition.strategy import check_float, check_int
from kneeal.acquisition.uncertainty import Margin

#: Largest number of points whose balls are considered for the radius.
_MAX_BALLS = 5000


@register("coreset")
class CoreSet(CoverageStrategy):
    """Repeatedly the knee farthest from all labeled and chosen knees: k-center greedy."""

    source = "Sener and Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018"

    def choose(self, pool: Predictions, n: int, labeled: Predictions | None, generator: Generator) -> Sequence[int]:
        """Greedily; without labeled knees, the first is random."""
        features, known = vectors(pool, labeled, normalize=False)
        distance = nearest(features, known)[0]
        chosen: list[int] = []
        for _ in range(n):
            chosen.append(int(distance.argmax()))
            distance = torch.minimum(distance, squared_distances(features, features[chosen[-1:]])[:, 0])
            distance[chosen] = -1.0
        return chosen


@register("probcover")
class ProbCover(CoverageStrategy):
    """Repeatedly the knee whose ball of radius delta holds the most knees that are not covered yet.

    The neighbor graph is never held: uncovered neighbors are counted once, in blocks, and the counts are reduced as
    knees become covered.

    Args:
        delta: Radius of the balls; None chooses the largest radius at which a share `purity` of the balls is pure, that
            is, holds knees of only one cluster, as the source does.
        purity: See `delta`, in (0, 1].
        n_clusters: Number of clusters, which stand in for the unknown grades.
        max_knees: A larger pool is subsampled to this many knees.
        normalize: Scale the features to length 1 first, as the source does.
    """

    source = "Yehuda et al., Active Learning Through a Covering Lens, NeurIPS 2022"

    def __init__(
        self,
        *,
        delta: float | None = None,
        purity: float = 0.95,
        n_clusters: int = 5,
        max_knees: int = 10_000,
        normalize: bool = True,
    ) -> None:
        self.delta = None if delta is None else check_float("delta", delta, 0.0)
        self.purity = check_float("purity", purity, 0.0, 1.0)
        self.n_clusters = check_int("n_clusters", n_clusters, 2)
        self.max_knees = check_int("max_knees", max_knees)
        self.normalize = normalize

    def choose(self, pool: Predictions, n: int, labeled: Predictions | None, generator: Generator) -> Sequence[int]:
        """Greedily; once everything is covered, in the random order of the pool."""
        # The pool is in random order, so its head is a random sample.
        x, known = vectors(pool, labeled, normalize=self.normalize)
        x = x[: max(n, self.max_knees)]
        delta = self.delta if self.delta is not None else pure_radius(x, self.n_clusters, self.purity, generator)
        square = delta * delta
        open_ = nearest(x, known)[0] > square
        gain = _count(x, x[open_], square)
        chosen: list[int] = []
        for _ in range(n):
            gain[chosen] = -1
            best = int(gain.argmax())
            chosen.append(best)
            covered = open_ & (squared_distances(x, x[best : best + 1])[:, 0] <= square)
            covered[best] = open_[best]
            gain -= _count(x, x[covered], square)
            open_ &= ~covered
        return chosen


def pure_radius(x: Tensor, n_clusters: int, purity: float, generator: Generator) -> float:
    """The largest radius at which a share `purity` of the balls around points holds points of only one cluster.

    A ball is pure up to the distance r to the nearest point of another cluster, so the answer is a quantile of r, taken
    over the first 5,000 points at most.

    Args:
        x: [N, F].
        n_clusters: Number of clusters of k-means.
        purity: In (0, 1].
        generator: Source of all randomness.
    """
    x = x[:_MAX_BALLS]
    labels = k_means(x, min(n_clusters, len(x)), generator)[1]
    radius = x.new_full((len(x),), torch.inf)
    for cluster in range(int(labels.max()) + 1):
        inside = labels == cluster
        radius[inside] = nearest(x[inside], x[~inside])[0].sqrt()
    if not bool(torch.isfinite(radius).all()):  # a single cluster: every ball is pure
        return float(squared_distances(x, x.mean(dim=0, keepdim=True)).max().sqrt()) + 1e-6
    ordered = radius.sort().values
    # Number of balls that may be impure; the tolerance since 50 * (1 - 0.8) is below 10 in floating point.
    impure = int(len(ordered) * (1.0 - purity) + 1e-9)
    # Just below the distance at which one ball too many would become impure.
    return float(ordered[min(impure, len(ordered) - 1)]) * (1.0 - 1e-6)


def _count(x: Tensor, points: Tensor, square: float) -> Tensor:
    """Number of the points [M, F] in the ball around each row of x [N, F], int64 [N]."""
    parts = [(squared_distances(x[rows], points) <= square).sum(dim=1) for rows in blocks(len(x), len(points))]
    return torch.cat(parts)


#: Knees whose gain is computed together in the lazy greedy choice.
_TOGETHER = 64


@register("max_herding")
class MaxHerding(CoverageStrategy):
    """Repeatedly the knee that increases the coverage of the pool most.

    Args:
        length_scale: s, above 0; 1 in the source. None adapts it as `uncertainty_herding` does.
        max_knees: A larger pool is subsampled to this many knees, which are candidates and covered alike.
    """

    source = (
        "Bae, Noh and Sutherland, Generalized Coverage for More Robust Low-Budget Active Learning, ECCV 2024, "
        "arXiv:2407.12212"
    )

    def __init__(self, *, length_scale: float | None = 1.0, max_knees: int = 10_000) -> None:
        self.length_scale = None if length_scale is None else check_float("length_scale", length_scale, 0.0)
        self.max_knees = check_int("max_knees", max_knees)

    def uncertainty(self, pool: Predictions) -> Tensor:
        """The weight u of each knee in the coverage, [N] >= 0."""
        return torch.ones(len(pool))

    def choose(self, pool: Predictions, n: int, labeled: Predictions | None, generator: Generator) -> Sequence[int]:
        """Greedily."""
        x, known = vectors(pool, labeled, normalize=True)
        x = x[: max(n, self.max_knees)]  # the pool is in random order
        scale = smallest_distance(known, default=1.0) if self.length_scale is None else self.length_scale
        return greedy_cover(x, known, self.uncertainty(pool)[: len(x)].to(x.dtype), scale, n)


@register("uncertainty_herding")
class UncertaintyHerding(Margin, MaxHerding):
    """Repeatedly the knee that increases the coverage of the uncertain part of the pool most.

    As labels come in, the length scale shrinks to the smallest distance between labeled knees, so that the strategy
    moves from covering the pool to querying its most uncertain knees. The source also calibrates the probabilities by
    a temperature; here they are used as the network gives them.

    Args:
        length_scale: s, above 0; None adapts it as the source does, starting from 1.
        max_knees: A larger pool is subsampled to this many knees, which are candidates and covered alike.
    """

    source = (
        "Bae, Oliveira and Sutherland, Uncertainty Herding: One Active Learning Method for All Label Budgets, "
        "ICLR 2025, arXiv:2412.20644"
    )

    def __init__(self, *, length_scale: float | None = None, max_knees: int = 10_000) -> None:
        super().__init__(length_scale=length_scale, max_knees=max_knees)

    def uncertainty(self, pool: Predictions) -> Tensor:
        """U = 1 - margin, [N] in [0, 1]."""
        return self.score(pool).detach().cpu()


def greedy_cover(x: Tensor, known: Tensor, weights: Tensor, length_scale: float, n: int) -> list[int]:
    """Rows of x that greedily maximize the weighted coverage of x.

    Args:
        x: [M, F], candidates and points to cover.
        known: [L, F], points that are chosen already.
        weights: [M] >= 0 of the points to cover.
        length_scale: s of the kernel.
        n: Number of rows, at most M.
    """

    def similarity(a: Tensor, b: Tensor) -> Tensor:
        return squared_distances(a, b).div_(-(length_scale**2)).exp_()

    covered = nearest(x, known)[0].div_(-(length_scale**2)).exp_()

    def gains(candidates: Tensor) -> Tensor:
        return (similarity(candidates, x) - covered).clamp_(min=0.0) @ weights

    bounds = torch.cat([gains(x[rows]) for rows in blocks(len(x), len(x))])
    chosen: list[int] = []
    for _ in range(n):
        best = lazy_best(bounds, lambda rows: gains(x[rows]), _TOGETHER)
        chosen.append(best)
        covered = torch.maximum(covered, similarity(x[best : best + 1], x)[0])
        bounds[best] = -torch.inf
    return chosen


def smallest_distance(x: Tensor, *, default: float) -> float:
    """The smallest distance above 0 between rows of x [L, F], at most `default`."""
    smallest = default**2
    for rows in blocks(len(x), max(1, len(x))):
        distance = squared_distances(x[rows], x)
        distance[distance <= 1e-6] = torch.inf  # rounding leaves about 1e-7 between equal vectors of length 1
        smallest = min(smallest, float(distance.min()))
    return float(smallest**0.5)
