"""BADGE and BAIT: knees whose labels would together change or determine the last layer most.

Symbols:
    h [F] the features, p [C] the probabilities, e the one-hot vector of the most probable grade, p_1 its probability.
    g = (p - e) (x) h, the gradient of the cross-entropy to the last layer, with the most probable grade as the label.
    A gradient has C F entries, but <g, g'> = <p - e, p' - e'> <h, h'>, so gradients are never materialized.
    I(x) = p_1 (1 - p_1) h h^T the Fisher information of a knee in the binary problem "the most probable grade or
    another" (Huseljic et al., 2024, who show that it performs as well as that of all C grades). F = sum of I(x) over
    pool and labeled knees, M = lambda 1 + sum of I(x) over labeled knees. BAIT's query S minimizes
    tr( (M + sum_S I)^-1 F ).

I(x) has rank 1, so with u = M^-1 h and B = M^-1 F M^-1, adding or removing x changes M^-1 by a multiple of u u^T and
B by a matrix of rank 2. The two numbers that matter for a knee, a(x) = h^T M^-1 h and b(x) = h^T B h, are updated for
all knees by two matrix-vector products: a choice costs O(N F + F^2).
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from kneeal.acquisition import measures
from kneeal.acquisition.batch import BatchStrategy, draw
from kneeal.acquisition.predictions import Posterior, Predictions
from kneeal.acquisition.registry import register
from kneeal.acquisition.strategy import check_float, check_int


@register("badge")
class BADGE(BatchStrategy):
    """Knees by k-means++ in the space of their last-layer gradients."""

    posterior = Posterior.POINT
    needs_features = True
    source = (
        "Ash et al., Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds, ICLR 2020; "
        "k-means++: Arthur and Vassilvitskii, SODA 2007"
    )

    def score(self, predictions: Predictions) -> Tensor:
        """Norm of the gradient, [N] >= 0: 0 if the network is certain of a knee."""
        errors, features = _factors(predictions)
        length: Tensor = (errors.square().sum(dim=1) * features.square().sum(dim=1)).sqrt()
        return length

    def choose(self, pool: Predictions, n: int, labeled: Predictions | None, generator: Generator) -> Sequence[int]:
        """The longest gradient first, then knees sampled by squared distance to the nearest gradient chosen so far."""
        errors, features = _factors(pool)
        squares = errors.square().sum(1) * features.square().sum(1)
        chosen = [int(squares.argmax())]
        distance = torch.full_like(squares, torch.inf)
        free = torch.ones(len(squares), dtype=torch.bool)
        while True:
            last = chosen[-1]
            free[last] = False
            if len(chosen) == n:
                return chosen
            inner = (errors @ errors[last]) * (features @ features[last])
            distance = torch.minimum(distance, (squares + squares[last] - 2.0 * inner).clamp(min=0.0))
            # Between equal gradients, rounding leaves a squared distance of about 1e-7 of their squared norm.
            distance[distance <= 1e-6 * squares] = 0.0
            weights = distance * free
            if float(weights.sum()) <= 0.0:
                weights = free.to(weights.dtype)
            chosen.append(draw(weights, generator))


def _factors(predictions: Predictions) -> tuple[Tensor, Tensor]:
    """P - e [N, C] and h [N, F]."""
    features = predictions.require_features()
    probs = measures.mean_log_probs(predictions.require_log_probs()).exp().detach().cpu().to(features.dtype)
    return probs - F.one_hot(probs.argmax(dim=1), probs.shape[1]).to(probs.dtype), features


@register("bait")
class BAIT(BatchStrategy):
    """The knees that jointly minimize the expected error of the last layer.

    Args:
        regularization: lambda, above 0.
        oversampling: Add this multiple of n knees greedily, then remove all but n; at least 1, 2 in the source.
    """

    posterior = Posterior.POINT
    needs_features = True
    source = (
        "Ash et al., Gone Fishing: Neural Active Learning with Fisher Embeddings, NeurIPS 2021; "
        "Huseljic et al., Fast Fishing: Approximating BAIT for Efficient and Scalable Deep Active Image "
        "Classification, ECML PKDD 2024"
    )

    def __init__(self, *, regularization: float = 1.0, oversampling: int = 2) -> None:
        self.regularization = check_float("regularization", regularization, 0.0)
        self.oversampling = check_int("oversampling", oversampling)

    def score(self, predictions: Predictions) -> Tensor:
        """Fisher information tr I(x) = p (1 - p) |h|^2, [N] >= 0."""
        return _roots(predictions).square().sum(dim=1)

    def choose(self, pool: Predictions, n: int, labeled: Predictions | None, generator: Generator) -> Sequence[int]:
        """Greedily forward, then greedily backward."""
        z = _roots(pool)  # I(x) = z z^T
        known = z[:0] if labeled is None else _roots(labeled)
        fisher = _gram(z) + _gram(known)
        start = _gram(known) + self.regularization * torch.eye(z.shape[1], dtype=torch.float64)
        inverse = torch.linalg.inv(start)
        trace = _Trace(z, inverse, inverse @ fisher @ inverse)
        chosen: list[int] = []
        free = torch.ones(len(z), dtype=torch.bool)
        for _ in range(min(self.oversampling * n, len(z))):
            best = int(torch.where(free, trace.change(1.0), -torch.inf).argmax())
            chosen.append(best)
            free[best] = False
            trace.update(z[best], 1.0)
        # From here on only the chosen knees matter.
        trace.z, trace.a, trace.b = trace.z[chosen], trace.a[chosen], trace.b[chosen]
        kept = list(range(len(chosen)))
        while len(kept) > n:
            increase = trace.change(-1.0).tolist()
            worst = min(kept, key=increase.__getitem__)
            kept.remove(worst)
            trace.update(z[chosen[worst]], -1.0)
        return [chosen[k] for k in kept]


class _Trace:
    """How tr(M^-1 F) changes with each knee z [N, F], while knees are added to M and removed from it."""

    def __init__(self, z: Tensor, inverse: Tensor, b: Tensor) -> None:
        self.z = z
        self.inverse = inverse
        self.matrix_b = b
        self.a = (z @ inverse.to(z.dtype) * z).sum(dim=1).double()
        self.b = (z @ b.to(z.dtype) * z).sum(dim=1).double()

    def change(self, sign: float) -> Tensor:
        """Decrease of the trace if a knee is added (sign 1), or increase if it is removed (sign -1), [N]."""
        return self.b / (1.0 + sign * self.a).clamp(min=1e-12)

    def update(self, z: Tensor, sign: float) -> None:
        """Add a knee to M (sign 1) or remove it (sign -1)."""
        z = z.double()
        u, v = self.inverse @ z, self.matrix_b @ z  # M^-1 z and M^-1 F M^-1 z
        c = sign / (1.0 + sign * float(z @ u))
        zv = float(z @ v)
        self.inverse = self.inverse - c * torch.outer(u, u)
        self.matrix_b = self.matrix_b - c * (torch.outer(u, v) + torch.outer(v, u)) + c * c * zv * torch.outer(u, u)
        zu_all, zv_all = (self.z @ torch.stack([u, v], dim=1).to(self.z.dtype)).double().unbind(dim=1)
        self.a = self.a - c * zu_all.square()
        self.b = self.b - 2.0 * c * zu_all * zv_all + c * c * zv * zu_all.square()


def _roots(predictions: Predictions) -> Tensor:
    """Vectors z [N, F] with I(x) = z z^T."""
    features = predictions.require_features()
    p = measures.mean_log_probs(predictions.require_log_probs()).amax(dim=1).detach().cpu().exp().to(features.dtype)
    return (p * (1.0 - p)).clamp(min=0.0).sqrt()[:, None] * features


def _gram(z: Tensor) -> Tensor:
    """Sum of z z^T over the rows of z [N, F], in double precision."""
    return (z.T @ z).double()
