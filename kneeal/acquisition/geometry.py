"""Distances and k-means in blocks: never more than a few columns of an N x N matrix at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from kneeal.acquisition.batch import draw

#: Entries of a block of distances; bounds the memory beyond the features.
BLOCK = 2**24
#: Points that place the centres of k-means; all points are assigned to them afterwards.
FIT_POINTS = 12_000


def unit(features: Tensor) -> Tensor:
    """The features [N, F] scaled to length 1; a vector of zeros stays one."""
    return F.normalize(features, dim=1)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distances [N, M] of x [N, F] and y [M, F], 0 or more."""
    product = torch.addmm(x.square().sum(1, keepdim=True), x, y.T, alpha=-2.0)
    return product.add_(y.square().sum(1)).clamp_(min=0.0)


def blocks(n: int, columns: int) -> Iterator[slice]:
    """Slices of n rows such that a block of that many rows and `columns` columns is of bounded size."""
    step = max(1, BLOCK // max(1, columns))
    for start in range(0, n, step):
        yield slice(start, min(n, start + step))


def nearest(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance [N] of each x to the nearest y, and which y that is, int64 [N]."""
    distance, index = x.new_empty(len(x)), torch.empty(len(x), dtype=torch.long)
    for rows in blocks(len(x), len(y)):
        distance[rows], index[rows] = squared_distances(x[rows], y).min(dim=1)
    return distance, index


def k_means(x: Tensor, k: int, generator: torch.Generator, *, n_iter: int = 25) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from k-means++ (Arthur and Vassilvitskii, SODA 2007).

    Of more than `FIT_POINTS` points, that many at random place the centres; then all are assigned.

    Args:
        x: [N, F].
        k: Clusters, in [1, N].
        generator: Of the first centres and the points that place them.
        n_iter: Most iterations.

    Returns:
        Centres [k, F], and the nearest centre of each point, int64 [N].
    """
    some = x
    if len(x) > FIT_POINTS:
        some = x[torch.randperm(len(x), generator=generator)[: max(FIT_POINTS, k)].sort().values]
    centres = _plus_plus(some, k, generator)
    assigned = torch.full((len(some),), -1)
    for _ in range(n_iter):
        distance, now = nearest(some, centres)
        if torch.equal(now, assigned):
            break
        assigned = now
        counts = torch.bincount(assigned, minlength=k)
        sums = torch.zeros_like(centres).index_add_(0, assigned, some)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
        empty = torch.nonzero(counts == 0)[:, 0]
        if len(empty):  # an empty cluster begins anew at a point that is served worst
            centres[empty] = some[distance.topk(len(empty)).indices]
    return centres, nearest(x, centres)[1]


def _plus_plus(x: Tensor, k: int, generator: torch.Generator) -> Tensor:
    chosen = [int(torch.randint(len(x), (1,), generator=generator))]
    distance = squared_distances(x, x[chosen[:1]])[:, 0]
    for _ in range(k - 1):
        chosen.append(draw(distance, generator))
        distance = torch.minimum(distance, squared_distances(x, x[chosen[-1:]])[:, 0])
    return x[chosen].clone()
