"""MaxHerding and Uncertainty Herding: knees that cover the pool, smoothly and where it is uncertain.

Symbols:
    h [F] the features of a knee scaled to length 1, k(x, x') = exp(-|h - h'|^2 / s^2) with the length scale s.
    S labeled and chosen knees, u(x) >= 0 the uncertainty (1 for MaxHerding).
    The coverage of S is the mean over the pool of u(x) max_{x' in S} k(x, x'). It is submodular, so the gain of a knee
    never increases as S grows, and an old gain is an upper bound (lazy greedy, Minoux, 1978).
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from kneeal.acquisition.batch import CoverageStrategy, lazy_best
from kneeal.acquisition.geometry import blocks, nearest, squared_distances, vectors
from kneeal.acquisition.options import check_float, check_int
from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.registry import register
from kneeal.acquisition.uncertainty import Margin

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

    covered = nearest(x, known)[0].div_(-(length_scale**2)).exp_() if len(known) else x.new_zeros(len(x))

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
        positive = distance[distance > 1e-6]  # rounding leaves about 1e-7 between equal vectors of length 1
        if len(positive):
            smallest = min(smallest, float(positive.min()))
    return float(smallest**0.5)
