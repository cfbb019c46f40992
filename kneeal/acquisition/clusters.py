"""Knees of different clusters: typical ones for the first labels, uncertain ones once there is a trained network."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from kneeal.acquisition import measures
from kneeal.acquisition.batch import BatchStrategy, CoverageStrategy
from kneeal.acquisition.geometry import blocks, central_rows, k_means, squared_distances, vectors
from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.registry import register
from kneeal.acquisition.strategy import SamplingStrategy, check_int
from kneeal.acquisition.uncertainty import Margin

#: Larger clusters are subsampled to this size for typicality.
_MAX_CLUSTER = 5000


@register("typiclust")
class TypiClust(CoverageStrategy):
    """The most typical knee of each large cluster without labeled knees.

    Args:
        n_neighbors: Nearest neighbors whose mean distance defines typicality.
        max_clusters: Upper limit of the number of clusters, which otherwise equals labeled knees plus query size.
        min_cluster_size: Clusters of at most this size are used only once no others are left.
        normalize: Scale the features to length 1 first, as the source does.
    """

    source = "Hacohen, Dekel and Weinshall, Active Learning on a Budget, ICML 2022"

    def __init__(
        self, *, n_neighbors: int = 20, max_clusters: int = 500, min_cluster_size: int = 5, normalize: bool = True
    ) -> None:
        self.n_neighbors = check_int("n_neighbors", n_neighbors)
        self.max_clusters = check_int("max_clusters", max_clusters)
        self.min_cluster_size = check_int("min_cluster_size", min_cluster_size)
        self.normalize = normalize

    def choose(self, pool: Predictions, n: int, labeled: Predictions | None, generator: Generator) -> Sequence[int]:
        """One knee per cluster, in turn: fewest labeled knees first, of those the largest first."""
        free, known = vectors(pool, labeled, normalize=self.normalize)
        x = torch.cat([free, known])
        k = min(len(known) + n, self.max_clusters, len(x))
        labels = k_means(x, k, generator)[1]
        sizes = torch.bincount(labels, minlength=k)
        n_labeled = torch.bincount(labels[len(free) :], minlength=k)
        # Small clusters are outliers: they come after all others.
        order = sorted(range(k), key=lambda c: (int(n_labeled[c]), -int(sizes[c])))
        large = [c for c in order if sizes[c] > self.min_cluster_size]
        small = [c for c in order if sizes[c] <= self.min_cluster_size]
        chosen: list[int] = []
        rows = {c: torch.nonzero(labels[: len(free)] == c)[:, 0] for c in order}
        for group in (large, small):
            while len(chosen) < n and any(len(rows[c]) for c in group):
                for c in group:
                    if len(rows[c]) and len(chosen) < n:
                        best = self._most_typical(free, rows[c], generator)
                        chosen.append(int(rows[c][best]))
                        rows[c] = torch.cat([rows[c][:best], rows[c][best + 1 :]])
        return chosen

    def _most_typical(self, x: Tensor, rows: Tensor, generator: Generator) -> int:
        """Which of the rows, the unlabeled knees of a cluster that are not chosen yet, is the most typical of them."""
        some = torch.arange(len(rows))
        if len(rows) > _MAX_CLUSTER:
            some = torch.randperm(len(rows), generator=generator)[:_MAX_CLUSTER]
        # As in the source, at most half of a small cluster counts as neighbors.
        n_neighbors = min(self.n_neighbors, max(1, len(some) // 2))
        return int(some[typicality(x[rows[some]], n_neighbors).argmax()])


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


@register("kmeans")
class KMeans(CoverageStrategy):
    """The knee nearest to the center of each of n clusters.

    Args:
        normalize: Scale the features to length 1 first.
    """

    source = "Pourahmadi, Nooralinejad and Pirsiavash, A Simple Baseline for Low-Budget Active Learning, 2021"

    def __init__(self, *, normalize: bool = True) -> None:
        self.normalize = normalize

    def choose(self, pool: Predictions, n: int, labeled: Predictions | None, generator: Generator) -> Sequence[int]:
        """The largest cluster first."""
        return central_rows(vectors(pool, None, normalize=self.normalize)[0], n, generator)


@register("drop_query")
class DropQuery(SamplingStrategy, BatchStrategy):
    """Of the knees whose grade changes in more than half of the samples, those nearest to the centers of n clusters.

    In the source, a sample drops part of the features before a linear classifier, and its grade is compared with that
    of the full features. Here samples come from whatever posterior is configured, and are compared with their mean.
    If fewer than n knees change their grade that often, the knees that change it most often fill the query.

    Args:
        n_samples: Number of posterior samples K, at least 2; 3 in the source.
    """

    needs_features = True
    source = (
        "Gupte et al., Revisiting Active Learning in the Era of Vision Foundation Models, TMLR 2024, arXiv:2401.14555"
    )

    def score(self, predictions: Predictions) -> Tensor:
        """Share of the samples whose most probable grade is not that of their mean, [N] in [0, 1)."""
        log_probs = predictions.require_samples()
        grade = measures.mean_log_probs(log_probs).argmax(dim=1, keepdim=True)
        return (log_probs.argmax(dim=2) != grade).float().mean(dim=1)

    def choose(self, pool: Predictions, n: int, labeled: Predictions | None, generator: Generator) -> Sequence[int]:
        """The central knee of each cluster of candidates, largest cluster first."""
        changes = self.score(pool).cpu()
        order = torch.argsort(changes, descending=True, stable=True)
        candidates = order[: max(n, int((changes > 0.5).sum()))]
        x = vectors(pool, None, normalize=False)[0][candidates]
        return candidates[central_rows(x, n, generator)].tolist()


#: Largest number of candidates: clustering holds the matrix of their distances.
_MAX_CANDIDATES = 5000


@register("cluster_margin")
class ClusterMargin(Margin, BatchStrategy):
    """Of the knees with the lowest margins, one from each cluster in turn, smallest clusters first.

    The source clusters the whole pool once, by average linkage. Here only the candidates are clustered, with the same
    linkage, since clusters without a candidate never contribute.

    Args:
        oversampling: Candidates per knee of the query, those with the lowest margins; at most 5,000 in total.
        cluster_size: Average number of candidates per cluster.
    """

    needs_features = True
    source = "Citovsky et al., Batch Active Learning at Scale, NeurIPS 2021"

    def __init__(self, *, oversampling: int = 10, cluster_size: int = 10) -> None:
        self.oversampling = check_int("oversampling", oversampling)
        self.cluster_size = check_int("cluster_size", cluster_size)

    def choose(self, pool: Predictions, n: int, labeled: Predictions | None, generator: Generator) -> Sequence[int]:
        """Round robin over the clusters, from the smallest to the largest."""
        scores = self.score(pool).detach().cpu()
        n_candidates = max(n, min(self.oversampling * n, _MAX_CANDIDATES))
        candidates = torch.argsort(scores, descending=True, stable=True)[:n_candidates]
        if len(candidates) > _MAX_CANDIDATES:  # the query is larger than what can be clustered
            return candidates[:n].tolist()
        k = math.ceil(len(candidates) / self.cluster_size)
        labels = average_linkage(vectors(pool, None, normalize=False)[0][candidates], k)
        # All candidates are uncertain, so the order within a cluster is random.
        members = [torch.nonzero(labels == cluster)[:, 0] for cluster in range(k)]
        queues = [rows[torch.randperm(len(rows), generator=generator)].tolist() for rows in members]
        queues.sort(key=len)
        turns = itertools.zip_longest(*map(reversed, queues))
        chosen = [row for turn in turns for row in turn if row is not None]
        return candidates[chosen[:n]].tolist()


def average_linkage(x: Tensor, k: int) -> Tensor:
    """Agglomerative clustering by average Euclidean distance.

    The nearest-neighbor chain algorithm (Murtagh, 1983) finds the merges of the greedy algorithm in O(M^2); the
    k - 1 highest of them are left out.

    Args:
        x: [M, F].
        k: Number of clusters, in [1, M].

    Returns:
        Cluster of each point, int64 [M] in [0, k).
    """
    m = len(x)
    distance = squared_distances(x, x).sqrt_()
    distance.fill_diagonal_(torch.inf)
    size = torch.ones(m, dtype=distance.dtype)
    merges: list[tuple[float, int, int]] = []
    alive = set(range(m))
    chain: list[int] = []
    while len(alive) > 1:
        if not chain:
            chain.append(min(alive))
        last = chain[-1]
        row = distance[last]
        near = int(row.argmin())
        if len(chain) > 1 and float(row[chain[-2]]) <= float(row[near]):
            near = chain[-2]  # ties go to the predecessor, or the chain would never close
        if len(chain) < 2 or near != chain[-2]:
            chain.append(near)
            continue
        del chain[-2:]
        merges.append((float(row[near]), last, near))
        # Lance-Williams update: the size-weighted mean of both distances.
        joined = (size[last] * distance[last] + size[near] * distance[near]) / (size[last] + size[near])
        distance[near], distance[:, near] = joined, joined
        distance[last], distance[:, last] = torch.inf, torch.inf
        distance[near, near] = torch.inf
        size[near] += size[last]
        alive.remove(last)
    labels = torch.arange(m)
    for _, first, second in sorted(merges, key=lambda merge: merge[0])[: m - k]:
        labels[labels == labels[first]] = int(labels[second])
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels.tolist()))}
    return torch.tensor([numbers[label] for label in labels.tolist()])
