"""ProbCover: knees whose neighbourhoods together hold as many knees as possible."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kneeal.acquisition.batch import BatchStrategy, features_of
from kneeal.acquisition.geometry import blocks, k_means, nearest, squared_distances, unit
from kneeal.acquisition.options import number, whole
from kneeal.acquisition.predictions import Posterior, Predictions
from kneeal.acquisition.registry import register


@register("probcover")
class ProbCover(BatchStrategy):
    """Each time the knee whose ball of radius delta holds the most knees that no ball holds yet.

    The graph of neighbours is never held: the number of uncovered neighbours is counted once, in blocks, and reduced
    by those of each knee that becomes covered.

    Args:
        delta: Radius of the balls; None chooses the largest of which `purity` of the balls hold knees of one cluster
            alone, as the source does.
        purity: See `delta`, in (0, 1].
        n_clusters: Clusters that stand for the grades while no grade is known.
        max_knees: Of a larger pool, so many knees at random stand for all.
        normalize: Scale the features to length 1 first, as the source does.
    """

    posterior = Posterior.NONE
    needs_features = True
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
        self.delta = None if delta is None else number("delta", delta, 0.0)
        self.purity = number("purity", purity, 0.0, 1.0)
        self.n_clusters = whole("n_clusters", n_clusters, 2)
        self.max_knees = whole("max_knees", max_knees)
        self.normalize = normalize

    def score(self, predictions: Predictions) -> Tensor:
        """Zeros [N]: a set of knees is wanted, not one knee."""
        return torch.zeros(len(predictions))

    def choose(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None, generator: torch.Generator
    ) -> Sequence[int]:
        """Greedily; once all is covered, whatever comes first in the random order of the pool."""
        # The pool comes in random order: its head is a sample of it.
        x = features_of(predictions)[: max(n, self.max_knees)]
        x = unit(x) if self.normalize else x
        delta = self.delta if self.delta is not None else pure_radius(x, self.n_clusters, self.purity, generator)
        square = delta * delta
        open_ = torch.ones(len(x), dtype=torch.bool)
        if labeled is not None:
            known = features_of(labeled).to(x.dtype)
            open_ = nearest(x, unit(known) if self.normalize else known)[0] > square
        gain = _count(x, x[open_], square)
        free = torch.ones(len(x), dtype=torch.bool)
        chosen: list[int] = []
        for _ in range(n):
            best = int(torch.where(free, gain, -1).argmax())
            chosen.append(best)
            free[best] = False
            covered = open_ & (squared_distances(x, x[best : best + 1])[:, 0] <= square)
            covered[best] = open_[best]
            gain -= _count(x, x[covered], square)
            open_ &= ~covered
        return chosen


def pure_radius(x: Tensor, n_clusters: int, purity: float, generator: torch.Generator, most: int = 5000) -> float:
    """The largest radius for which a share `purity` of the balls around points holds points of one cluster alone.

    A ball is pure up to the distance r of the nearest point of another cluster, so the answer is a quantile of r.

    Args:
        x: [N, F].
        n_clusters: Clusters by k-means.
        purity: In (0, 1].
        generator: Of k-means.
        most: Points whose balls are looked at.
    """
    x = x[:most]
    labels = k_means(x, min(n_clusters, len(x)), generator)[1]
    radius = x.new_full((len(x),), torch.inf)
    for cluster in range(int(labels.max()) + 1):
        inside = labels == cluster
        if inside.any() and not inside.all():
            radius[inside] = nearest(x[inside], x[~inside])[0].sqrt()
    if not bool(torch.isfinite(radius).all()):  # a single cluster: one ball may hold everything
        return float(squared_distances(x, x.mean(dim=0, keepdim=True)).max().sqrt()) + 1e-6
    ordered = radius.sort().values
    # So many balls may hold a point of another cluster; 50 * (1 - 0.8) comes out below 10.
    impure = int(len(ordered) * (1.0 - purity) + 1e-9)
    # Just short of the distance at which one ball too many would become impure.
    return float(ordered[min(impure, len(ordered) - 1)]) * (1.0 - 1e-6)


def _count(x: Tensor, points: Tensor, square: float) -> Tensor:
    """For each row of x [N, F], how many of the points [M, F] are in its ball, int64 [N]."""
    count = torch.zeros(len(x), dtype=torch.long)
    if len(points):
        for rows in blocks(len(x), len(points)):
            count[rows] = (squared_distances(x[rows], points) <= square).sum(dim=1)
    return count
