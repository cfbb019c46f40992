"""Base classes of strategies that choose the knees of a query jointly."""

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from kneeal.acquisition.predictions import Posterior, Predictions
from kneeal.acquisition.strategy import Strategy, check_query_size, seeded_order


class BatchStrategy(Strategy):
    """Chooses knees jointly: a subclass implements `choose`.

    The query is a function of the knees and the seed, never of the order of the pool: `choose` is given the knees in
    an order that the ids and the seed determine. An `argmax` inside it therefore breaks ties at random.
    """

    batch_aware = True

    @abstractmethod
    def choose(self, pool: Predictions, n: int, labeled: Predictions | None, generator: Generator) -> Sequence[int]:
        """Positions of the n knees of the query, best first.

        Args:
            pool: The pool, in random order.
            n: Size of the query, in [1, N].
            labeled: The labeled knees; None if there are none, or if the strategy needs no features.
            generator: Source of all randomness.
        """

    def select(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None = None, seed: int
    ) -> tuple[str, ...]:
        """The query, see `Strategy.select`.

        Raises:
            ValueError: n is not in [0, N], or something that the strategy needs is missing.
        """
        check_query_size(n, len(predictions))
        if n == 0:
            return ()
        pool = predictions.take(seeded_order(predictions.ids, seed))
        if labeled is not None:
            labeled = labeled.take(sorted(range(len(labeled)), key=labeled.ids.__getitem__)) if len(labeled) else None
        with torch.no_grad():
            chosen = self.choose(pool, n, labeled, Generator().manual_seed(seed))
        return tuple(pool.ids[position] for position in chosen)


class CoverageStrategy(BatchStrategy):
    """Chooses knees by their features alone, so that together they represent the pool."""

    posterior = Posterior.NONE
    needs_features = True

    def score(self, predictions: Predictions) -> Tensor:
        """Zeros [N]: only a set of knees has a value, not a single knee."""
        return torch.zeros(len(predictions))


def lazy_best(bounds: Tensor, gains: Callable[[Tensor], Tensor], step: int) -> int:
    """The position of the largest gain, computed for those whose bound exceeds the best gain so far (Minoux, 1978).

    Args:
        bounds: [M] no gain is above its bound; -inf for what is chosen already. Gains that are computed replace them.
        gains: From positions [B] to their gains [B].
        step: Positions computed together.
    """
    order = torch.argsort(bounds, descending=True, stable=True)
    best, gain = int(order[0]), -torch.inf
    for rows in torch.split(order, step):
        if float(bounds[rows[0]]) <= gain:
            break
        bounds[rows] = torch.where(torch.isfinite(bounds[rows]), gains(rows), -torch.inf)
        top = int(rows[bounds[rows].argmax()])
        if float(bounds[top]) > gain:
            best, gain = top, float(bounds[top])
    return best


def draw(weights: Tensor, generator: Generator) -> int:
    """A position drawn with probability proportional to weights [N] >= 0; uniformly if all are 0.

    By the inverse of the cumulative sum: torch.multinomial accepts no more than 2^24 categories.
    """
    cumulative = weights.double().cumsum(0)
    total = float(cumulative[-1])
    if total <= 0.0:
        return int(torch.randint(len(weights), (1,), generator=generator))
    point = torch.rand(1, generator=generator, dtype=torch.float64) * total
    last = int(torch.nonzero(weights > 0)[-1])  # rounding may carry the point past the end
    return min(int(torch.searchsorted(cumulative, point, right=True)), last)


def gumbel(n: int, generator: Generator) -> Tensor:
    """Standard Gumbel noise, float64 [n].

    Added to log-weights, it turns the n largest values into a sample without replacement (the Gumbel trick).
    """
    uniform = torch.rand(n, generator=generator, dtype=torch.float64)
    # The clamp keeps the noise finite at 0; 1 does not occur.
    return -torch.log(-torch.log(uniform.clamp(min=torch.finfo(torch.float64).tiny)))
