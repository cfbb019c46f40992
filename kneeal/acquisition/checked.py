"""Wraps any strategy to check its results and name its errors, for loops that run third-party strategies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.strategy import Wrapper, check_query_size


class Checked(Wrapper):
    """A strategy whose scores and queries are checked, and whose errors say which strategy raised them."""

    def score(self, predictions: Predictions) -> Tensor:
        """The strategy's score.

        Raises:
            ValueError: It is not a finite number per knee.
        """
        with self._named_errors():
            scores = super().score(predictions)
            if not isinstance(scores, Tensor) or scores.shape != (len(predictions),):
                found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
                raise ValueError(f"score must return a tensor [N] with N = {len(predictions)}, but returned {found}.")
            if not bool(torch.isfinite(scores).all()):
                raise ValueError("scores must be finite, but some are not.")
            return scores

    def select(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None = None, seed: int
    ) -> tuple[str, ...]:
        """The strategy's query.

        Raises:
            ValueError: n is not in [0, N], or the query is not n distinct knees of the pool.
        """
        check_query_size(n, len(predictions))
        self.score(predictions)
        with self._named_errors():
            chosen = tuple(self.strategy.select(predictions, n, labeled=labeled, seed=seed))
            if len(chosen) != n or len(set(chosen)) != n or not set(chosen) <= set(predictions.ids):
                raise ValueError(
                    f"select must return {n} distinct ids of the pool, but returned {len(chosen)}, of which "
                    f"{len(set(chosen) & set(predictions.ids))} are distinct ids of the pool."
                )
            return chosen

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            error.add_note(f"raised by the strategy {self.name}")
            raise
