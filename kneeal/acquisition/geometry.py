"""Distances and k-means in blocks: an N x N matrix is never held."""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from kneeal.acquisition.batch import draw
from kneeal.acquisition.predictions import Predictions

#: Entries of a block of distances; bounds the memory beyond the features.
BLOCK = 2**24
#: Largest number of points that k-means is fitted on; all points are assigned afterwards.
FIT_POINTS = 12_000


def vectors(predictions: Predictions, labeled: Predictions | None, *, normalize: bool) -> tuple[Tensor, Tensor]:
    """Features of the pool [N, F] and of the labeled knees [L, F], for the distances between them.

    Both are shifted by the mean of the pool, which changes no distance, since a common offset would cost
    `squared_distances` precision.

    Args:
        predictions: The pool.
        labeled: The labeled knees, if there are any.
        normalize: Scale each vector to length 1 first; a zero vector stays zero.

    Raises:
        ValueError: The two differ in F.
    """
    x = predictions.require_features()
    known = x[:0] if labeled is None else labeled.require_features().to(x.dtype)
    if known.shape[1] != x.shape[1]:
        raise ValueError(f"the labeled knees have {known.shape[1]} features, those of the pool {x.shape[1]}.")
    if normalize:
        x, known = F.normalize(x, dim=1), F.normalize(known, dim=1)
    offset = x.mean(dim=0, dtype=torch.float64).to(x.dtype)
    return x - offset, known - offset


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distances [N, M] between x [N, F] and y [M, F], at least 0.

    Precise to about 1e-7 of the squared lengths of the vectors, so these should be centered, see `vectors`.
    """
    product = torch.addmm(x.square().sum(1, keepdim=True), x, y.T, alpha=-2.0)
    return product.add_(y.square().sum(1)).clamp_(min=0.0)


def blocks(n: int, columns: int) -> Iterator[slice]:
    """Slices of n rows such that a block of a slice and `columns` columns has bounded size."""
    step = max(1, BLOCK // max(1, columns))
    for start in range(0, n, step):
        yield slice(start, min(n, start + step))


def nearest(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance [N] from each x to the nearest y, and the index of that y, int64 [N]; infinite without any y."""
    distance, index = x.new_full((len(x),), torch.inf), torch.zeros(len(x), dtype=torch.long)
    for rows in blocks(len(x), len(y)) if len(y) else ():
        distance[rows], index[rows] = squared_distances(x[rows], y).min(dim=1)
    return distance, index


def k_means(x: Tensor, k: int, generator: Generator, *, n_iter: int = 25) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from k-means++ (Arthur and Vassilvitskii, SODA 2007).

    More than `FIT_POINTS` points are subsampled to that many for the fit; then all are assigned.

    Args:
        x: [N, F].
        k: Number of clusters, in [1, N].
        generator: Source of all randomness.
        n_iter: Largest number of iterations.

    Returns:
        Centers [k, F], and the index of the nearest center of each point, int64 [N].
    """
    some = x
    if len(x) > FIT_POINTS:
        some = x[torch.randperm(len(x), generator=generator)[: max(FIT_POINTS, k)].sort().values]
    chosen = [int(torch.randint(len(some), (1,), generator=generator))]
    distance = squared_distances(some, some[chosen[:1]])[:, 0]
    for _ in range(k - 1):
        chosen.append(draw(distance, generator))
        distance = torch.minimum(distance, squared_distances(some, some[chosen[-1:]])[:, 0])
    centers = some[chosen].clone()
    assigned = torch.full((len(some),), -1)
    for _ in range(n_iter):
        distance, now = nearest(some, centers)
        if torch.equal(now, assigned):
            break
        assigned = now
        counts = torch.bincount(assigned, minlength=k)
        sums = torch.zeros_like(centers).index_add_(0, assigned, some)
        centers = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centers)
        empty = torch.nonzero(counts == 0)[:, 0]
        if len(empty):  # an empty cluster restarts at one of the points farthest from their centers
            centers[empty] = some[distance.topk(len(empty)).indices]
    return centers, nearest(x, centers)[1]


def central_rows(x: Tensor, n: int, generator: Generator) -> list[int]:
    """The row of x [N, F] nearest to the center of each of n clusters, largest cluster first.

    If two centers share their nearest row, the second takes its next nearest.
    """
    centers, labels = k_means(x, n, generator)
    sizes = torch.bincount(labels, minlength=n)
    chosen: list[int] = []
    for cluster in torch.argsort(sizes, descending=True, stable=True).tolist():
        distance = squared_distances(x, centers[cluster : cluster + 1])[:, 0]
        distance[chosen] = torch.inf
        chosen.append(int(distance.argmin()))
    return chosen
