"""The frame of strategies that choose knees together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.strategy import Strategy


class BatchStrategy(Strategy):
    """Chooses knees together: a subclass implements `choose`.

    What is chosen is a function of the knees and the seed, never of the order of the pool: `choose` is given the
    knees in an order that the ids and the seed decide. An `argmax` in it therefore breaks ties at random.
    """

    batch_aware = True

    @abstractmethod
    def choose(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None, generator: torch.Generator
    ) -> Sequence[int]:
        """Positions of the n knees to ask for, the most wanted first.

        Args:
            predictions: The pool, in an order of its own.
            n: How many, in [1, N].
            labeled: The labeled knees, where the strategy needs features and there are any.
            generator: Of whatever is random.
        """

    def select(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None = None, seed: int
    ) -> tuple[str, ...]:
        """The n knees that are wanted together, see `Strategy.select`.

        Raises:
            ValueError: n is not in [0, N], or what the strategy needs is not given.
        """
        if not 0 <= n <= len(predictions):
            raise ValueError(f"n must be between 0 and the {len(predictions)} knees of the pool, but got {n=}.")
        if n == 0:
            return ()
        generator = torch.Generator().manual_seed(seed)
        order = seeded_order(predictions.ids, generator)
        if labeled is not None and len(labeled):
            labeled = labeled.take(sorted(range(len(labeled)), key=labeled.ids.__getitem__))
        else:
            labeled = None
        pool = predictions.take(order)
        with torch.no_grad():
            chosen = self.choose(pool, n, labeled=labeled, generator=generator)
        return tuple(pool.ids[position] for position in chosen)


def seeded_order(ids: Sequence[str], generator: torch.Generator) -> list[int]:
    """Positions of the ids in random order, which depends on the ids and the generator but not on their order."""
    by_id = sorted(range(len(ids)), key=ids.__getitem__)
    return [by_id[k] for k in torch.randperm(len(ids), generator=generator).tolist()]


def features_of(predictions: Predictions) -> Tensor:
    """The feature vectors [N, F] in single or double precision.

    Raises:
        ValueError: There are none, or some are not finite.
    """
    if predictions.features is None:
        raise ValueError("the strategy needs features, but the predictions hold none.")
    features = predictions.features.detach().cpu()
    features = features if features.dtype == torch.float64 else features.float()
    if not bool(torch.isfinite(features).all()):
        raise ValueError("features must be finite, but some are not.")
    return features


def draw(weights: Tensor, generator: torch.Generator) -> int:
    """A position drawn in proportion to weights [N] of 0 or more; uniformly if all are 0.

    By the inverse of the cumulative sum: torch.multinomial refuses more than 2^24 categories.
    """
    cumulative = weights.double().cumsum(0)
    total = float(cumulative[-1])
    if total <= 0.0:
        return int(torch.randint(len(weights), (1,), generator=generator))
    point = torch.rand(1, generator=generator, dtype=torch.float64) * total
    position = int(torch.searchsorted(cumulative, point, right=True))
    if position < len(weights):
        return position
    return int(torch.nonzero(weights > 0)[-1])  # rounding carried the point past the end
