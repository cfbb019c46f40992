"""The contract of an acquisition strategy."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from kneeal.acquisition.predictions import Posterior, Predictions
from kneeal.errors import UserError


class Strategy(ABC):
    """Scores the pool, and selects what to ask for.

    A subclass says what it needs and implements `score`. Options are keyword arguments of its constructor.

    Attributes:
        posterior: What it needs to be given.
        needs_features: Whether it needs feature vectors, of the pool and of the labeled knees.
        source: Where it comes from.
        batch_aware: Whether it chooses knees together, so that a query does not repeat itself.
        pointwise: Whether the score of a knee depends on that knee alone; False where `score` looks at the others.
        n_samples: Posterior samples K that it wants, where `posterior` is SAMPLES.
    """

    # Not class variables: a strategy around another one has what that one has.
    posterior: Posterior
    needs_features: bool = False
    batch_aware: bool = False
    pointwise: bool = True
    source: str
    n_samples: int = 1

    @property
    def scores_uncertainty(self) -> bool:
        """Whether a low score means a knee that the network is sure of."""
        return self.posterior is not Posterior.NONE

    @abstractmethod
    def score(self, predictions: Predictions) -> Tensor:
        """How much each knee is wanted.

        Args:
            predictions: The pool, with what `posterior` and `needs_features` ask for.

        Returns:
            [N], larger = query sooner.
        """

    def select(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None = None, seed: int
    ) -> tuple[str, ...]:
        """The knees to ask for: by default the n of the highest score.

        Args:
            predictions: The pool.
            n: How many, in [0, N].
            labeled: The labeled knees, for strategies that need features.
            seed: Decides among equal scores, and whatever else is random.

        Returns:
            n distinct ids, the most wanted first.

        Raises:
            ValueError: n is not in [0, N], or a score is not finite.
        """
        positions = top_n(self.score(predictions), n, seed=seed)
        return tuple(predictions.ids[p] for p in positions.tolist())


class SamplingStrategy(Strategy):
    """A strategy on posterior samples.

    Args:
        n_samples: Posterior samples K, at least 2.

    Raises:
        UserError: n_samples is no such number.
    """

    posterior = Posterior.SAMPLES

    def __init__(self, *, n_samples: int = 50) -> None:
        if isinstance(n_samples, bool) or not isinstance(n_samples, int) or n_samples < 2:
            raise UserError(
                f"n_samples = {n_samples!r}", "a whole number of at least 2", "set n_samples, 50 in the paper"
            )
        self.n_samples = n_samples


def top_n(scores: Tensor, n: int, *, seed: int, largest: bool = True) -> Tensor:
    """Positions of the n largest (or smallest) scores, equal scores in random order.

    Args:
        scores: [N], finite.
        n: How many, in [0, N].
        seed: Decides among equal scores.
        largest: False for the smallest.

    Returns:
        int64 [n], the most extreme first.

    Raises:
        ValueError: n is not in [0, N], or a score is not finite.
    """
    if not 0 <= n <= len(scores):
        raise ValueError(f"n must be between 0 and the {len(scores)} knees of the pool, but got {n=}.")
    if not bool(torch.isfinite(scores).all()):
        raise ValueError("scores must be finite, but some are not.")
    scores = scores.detach().cpu()
    shuffled = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed))
    order = torch.argsort(scores[shuffled], descending=largest, stable=True)
    return shuffled[order[:n]]
