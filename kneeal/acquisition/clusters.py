"""Typical knees of clusters: for the first labels, before any network has a useful uncertainty."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kneeal.acquisition.batch import CoverageStrategy
from kneeal.acquisition.geometry import blocks, central_rows, k_means, squared_distances, unit
from kneeal.acquisition.options import check_int
from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.registry import register

#: Larger clusters are subsampled to this size for typicality.
_MAX_CLUSTER = 5000


@register("typiclust")
class TypiClust(CoverageStrategy):
    """The most typical knee of each large cluster without labeled knees.

    Args:
        n_neighbors: Nearest neighbors whose mean distance defines typicality.
        max_clusters: Upper limit of the number of clusters, which otherwise equals labeled knees plus query size.
        min_cluster_size: Smaller clusters are used only once no others are left.
        normalize: Scale the features to length 1 first, as the source does.
    """

    source = "Hacohen, Dekel and Weinshall, Active Learning on a Budget, ICML 2022"

    def __init__(
        self,
        *,
        n_neighbors: int = 20,
        max_clusters: int = 500,
        min_cluster_size: int = 5,
        normalize: bool = True,
    ) -> None:
        self.n_neighbors = check_int("n_neighbors", n_neighbors)
        self.max_clusters = check_int("max_clusters", max_clusters)
        self.min_cluster_size = check_int("min_cluster_size", min_cluster_size)
        self.normalize = normalize

    def choose(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None, generator: torch.Generator
    ) -> Sequence[int]:
        """From the clusters with the fewest labeled knees, the largest of them first."""
        pool = predictions.require_features()
        n_pool = len(pool)
        known = pool[:0] if labeled is None else labeled.require_features().to(pool.dtype)
        x = torch.cat([pool, known])
        x = unit(x) if self.normalize else x
        k = min(len(known) + n, self.max_clusters, len(x))
        labels = k_means(x, k, generator)[1]
        n_labeled = torch.bincount(labels[n_pool:], minlength=k)
        sizes = torch.bincount(labels, minlength=k)
        # Small clusters are outliers: they come after all others.
        order = sorted(
            range(k), key=lambda c: (int(sizes[c] < self.min_cluster_size), int(n_labeled[c]), -int(sizes[c]))
        )
        # If the first n clusters can give one knee each, the others are never needed.
        pool_sizes = torch.bincount(labels[:n_pool], minlength=k)
        if all(int(sizes[c]) >= self.min_cluster_size and int(pool_sizes[c]) for c in order[:n]) and len(order) >= n:
            order = order[:n]
        ranked = [_by_typicality(x, torch.nonzero(labels == c)[:, 0], self.n_neighbors, generator) for c in order]
        queues = [[p for p in rows.tolist() if p < n_pool] for rows in ranked]
        chosen: list[int] = []
        large = [queue for c, queue in zip(order, queues, strict=True) if sizes[c] >= self.min_cluster_size]
        small = [queue for c, queue in zip(order, queues, strict=True) if sizes[c] < self.min_cluster_size]
        for group in (large, small):
            while len(chosen) < n and any(group):
                for queue in group:
                    if queue and len(chosen) < n:
                        chosen.append(queue.pop(0))
        return chosen


def typicality(x: Tensor, n_neighbors: int) -> Tensor:
    """1 / mean distance to the nearest neighbors: [M, F] -> [M] > 0, larger where points are denser.

    Args:
        x: Features.
        n_neighbors: Number of neighbors; all others if there are fewer.
    """
    k = min(n_neighbors, len(x) - 1)
    if k < 1:
        return x.new_ones(len(x))
    result = x.new_empty(len(x))
    for rows in blocks(len(x), len(x)):
        distance = squared_distances(x[rows], x)
        distance[torch.arange(len(distance)), torch.arange(rows.start, rows.stop)] = torch.inf
        mean = distance.topk(k, dim=1, largest=False).values.sqrt().mean(dim=1)
        result[rows] = 1.0 / (mean + 1e-5)  # copies of one knee have distance 0
    return result


def _by_typicality(x: Tensor, rows: Tensor, n_neighbors: int, generator: torch.Generator) -> Tensor:
    """The rows of one cluster, the most typical first."""
    rest = rows[:0]
    if len(rows) > _MAX_CLUSTER:
        shuffled = rows[torch.randperm(len(rows), generator=generator)]
        rows, rest = shuffled[:_MAX_CLUSTER], shuffled[_MAX_CLUSTER:]
    # As in the source, at most half of a small cluster counts as neighbors.
    scores = typicality(x[rows], min(n_neighbors, max(1, len(rows) // 2)))
    return torch.cat([rows[torch.argsort(scores, descending=True, stable=True)], rest])


@register("kmeans")
class KMeans(CoverageStrategy):
    """The knee nearest to the center of each of n clusters.

    Args:
        normalize: Scale the features to length 1 first.
    """

    source = "Pourahmadi, Nooralinejad and Pirsiavash, A Simple Baseline for Low-Budget Active Learning, 2021"

    def __init__(self, *, normalize: bool = True) -> None:
        self.normalize = normalize

    def choose(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None, generator: torch.Generator
    ) -> Sequence[int]:
        """The largest cluster first."""
        x = predictions.require_features()
        return central_rows(unit(x) if self.normalize else x, n, generator)
