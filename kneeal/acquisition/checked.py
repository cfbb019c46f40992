"""Wraps any strategy to check its results and name its errors, for loops that run third-party strategies."""

import torch
from torch import Tensor

from kneeal.acquisition.predictions import Posterior, Predictions
from kneeal.acquisition.strategy import Strategy, Wrapper, check_query_size, named_errors
from kneeal.errors import UserError


class Checked(Wrapper):
    """A strategy whose scores and queries are checked, and whose errors say which strategy raised them."""

    def score(self, predictions: Predictions) -> Tensor:
        """The strategy's score.

        Raises:
            UserError: It is not a finite number per knee.
        """
        with named_errors(self.name):
            scores = super().score(predictions)
        if not isinstance(scores, Tensor) or scores.shape != (len(predictions),):
            found = f"a tensor {list(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
            raise self._wrong(f"score returned {found}", f"a tensor [N] with N = {len(predictions)}")
        if not bool(torch.isfinite(scores).all()):
            raise self._wrong("score returned numbers that are not finite", "a finite number per knee")
        return scores

    def select(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None = None, seed: int
    ) -> tuple[str, ...]:
        """The strategy's query.

        Raises:
            ValueError: n is not in [0, N].
            UserError: The query is not n distinct knees of the pool.
        """
        check_query_size(n, len(predictions))
        self.score(predictions)
        with named_errors(self.name):
            chosen = tuple(self.strategy.select(predictions, n, labeled=labeled, seed=seed))
        if len(chosen) != n or len(set(chosen)) != n or not set(chosen) <= set(predictions.ids):
            valid = len(set(chosen) & set(predictions.ids))
            raise self._wrong(
                f"select returned {len(chosen)} ids, of which {valid} are distinct ids of the pool",
                f"{n} distinct ids of the pool",
            )
        return chosen

    def _wrong(self, found: str, expected: str) -> UserError:
        return UserError(f"the strategy {self.name}: {found}", expected, "correct its class, see docs/strategies.md")


def rehearse(strategy: Strategy, n_classes: int) -> None:
    """Select from made-up knees, so that a strategy that cannot be used is found before anything is trained.

    Raises:
        UserError: Its score or query is wrong. Any other exception is that of the strategy, with its name as a note.
    """
    needs, generator = strategy.needs, torch.Generator().manual_seed(0)

    def knees(n: int, prefix: str) -> Predictions:
        logits = torch.randn(n, needs.n_samples, n_classes, generator=generator)
        return Predictions(
            tuple(f"{prefix}{k}" for k in range(n)),
            None if needs.posterior is Posterior.NONE else logits.log_softmax(-1),
            torch.randn(n, 8, generator=generator) if needs.features else None,
            torch.ones(n_classes, dtype=torch.long) if needs.label_counts else None,
        )

    Checked(strategy).select(knees(40, "pool"), 4, labeled=knees(10, "labeled") if needs.features else None, seed=0)
