"""Cluster-Margin: uncertain knees, spread over the clusters of their features."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from kneeal.acquisition.batch import BatchStrategy
from kneeal.acquisition.geometry import squared_distances, vectors
from kneeal.acquisition.options import check_int
from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.registry import register
from kneeal.acquisition.uncertainty import Margin

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
        chosen: list[int] = []
        while len(chosen) < n:
            for queue in queues:
                if queue and len(chosen) < n:
                    chosen.append(queue.pop())
        return candidates[chosen].tolist()


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
