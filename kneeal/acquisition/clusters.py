"""Typical knees of clusters: for the first labels, when no network can say what it does not know."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kneeal.acquisition.batch import BatchStrategy, features_of
from kneeal.acquisition.geometry import blocks, k_means, squared_distances, unit
from kneeal.acquisition.options import whole
from kneeal.acquisition.predictions import Posterior, Predictions
from kneeal.acquisition.registry import register

#: In a larger cluster, typicality is computed among so many of its knees at random.
_EXACT = 5000


@register("typiclust")
class TypiClust(BatchStrategy):
    """The most typical knee of each large cluster that holds no labeled knee.

    Args:
        n_neighbors: Nearest neighbours whose mean distance says how typical a knee is.
        max_clusters: Most clusters; there are as many as labeled knees and knees asked for, up to it.
        min_cluster_size: Smaller clusters are passed over while there are others.
        normalize: Scale the features to length 1 first, as the source does.
    """

    posterior = Posterior.NONE
    needs_features = True
    source = "Hacohen, Dekel and Weinshall, Active Learning on a Budget, ICML 2022"

    def __init__(
        self,
        *,
        n_neighbors: int = 20,
        max_clusters: int = 500,
        min_cluster_size: int = 5,
        normalize: bool = True,
    ) -> None:
        self.n_neighbors = whole("n_neighbors", n_neighbors)
        self.max_clusters = whole("max_clusters", max_clusters)
        self.min_cluster_size = whole("min_cluster_size", min_cluster_size)
        self.normalize = normalize

    def score(self, predictions: Predictions) -> Tensor:
        """Zeros [N]: a set of knees is wanted, not one knee."""
        return torch.zeros(len(predictions))

    def choose(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None, generator: torch.Generator
    ) -> Sequence[int]:
        """Clusters with the fewest labeled knees first, of those the largest first."""
        pool = features_of(predictions)
        n_pool = len(pool)
        known = pool[:0] if labeled is None else features_of(labeled).to(pool.dtype)
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
        # Where the first n clusters can each give a knee, the others are never drawn from.
        pool_sizes = torch.bincount(labels[:n_pool], minlength=k)
        if all(int(sizes[c]) >= self.min_cluster_size and int(pool_sizes[c]) for c in order[:n]) and len(order) >= n:
            order = order[:n]
        ranked = [_most_typical(x, torch.nonzero(labels == c)[:, 0], self.n_neighbors, generator) for c in order]
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
    """1 / mean distance to the nearest neighbours: [M, F] -> [M] above 0; the more, the denser around it.

    Args:
        x: Features.
        n_neighbors: Neighbours; all others where there are fewer.
    """
    k = min(n_neighbors, len(x) - 1)
    if k < 1:
        return x.new_ones(len(x))
    result = x.new_empty(len(x))
    for rows in blocks(len(x), len(x)):
        distance = squared_distances(x[rows], x)
        distance[torch.arange(len(distance)), torch.arange(rows.start, rows.stop)] = torch.inf
        mean = distance.topk(k, dim=1, largest=False).values.sqrt().mean(dim=1)
        result[rows] = 1.0 / (mean + 1e-5)  # copies of one knee are all at distance 0
    return result


def _most_typical(x: Tensor, rows: Tensor, n_neighbors: int, generator: torch.Generator) -> Tensor:
    """The rows of one cluster, the most typical first."""
    rest = rows[:0]
    if len(rows) > _EXACT:
        shuffled = rows[torch.randperm(len(rows), generator=generator)]
        rows, rest = shuffled[:_EXACT], shuffled[_EXACT:]
    # As in the source, at most half of a small cluster is looked at.
    scores = typicality(x[rows], min(n_neighbors, max(1, len(rows) // 2)))
    return torch.cat([rows[torch.argsort(scores, descending=True, stable=True)], rest])


@register("kmeans")
class KMeans(BatchStrategy):
    """The knee nearest to the centre of each of n clusters."""

    posterior = Posterior.NONE
    needs_features = True
    source = "Pourahmadi, Nooralinejad and Pirsiavash, A Simple Baseline for Low-Budget Active Learning, 2021"

    def __init__(self, *, normalize: bool = True) -> None:
        self.normalize = normalize

    def score(self, predictions: Predictions) -> Tensor:
        """Zeros [N]: a set of knees is wanted, not one knee."""
        return torch.zeros(len(predictions))

    def choose(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None, generator: torch.Generator
    ) -> Sequence[int]:
        """The largest cluster first; of a knee that is nearest to two centres, the second takes the next nearest."""
        x = features_of(predictions)
        x = unit(x) if self.normalize else x
        centres, labels = k_means(x, n, generator)
        sizes = torch.bincount(labels, minlength=n)
        free = torch.ones(len(x), dtype=torch.bool)
        chosen = []
        for cluster in torch.argsort(sizes, descending=True, stable=True).tolist():
            distance = squared_distances(x, centres[cluster : cluster + 1])[:, 0]
            distance[~free] = torch.inf
            chosen.append(int(distance.argmin()))
            free[chosen[-1]] = False
        return chosen
