"""Strategies around others: `Checked` for loops that run third-party strategies, and `Mixed`."""

from dataclasses import replace

import torch
from torch import Tensor

from kneeal.acquisition import measures
from kneeal.acquisition.predictions import Needs, Posterior, Predictions
from kneeal.acquisition.strategy import Strategy, check_float, check_query_size, named_errors
from kneeal.errors import UserError
from kneeal.seeds import derive_seed


class Wrapper(Strategy):
    """A strategy that wraps another one and takes its place."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self.source = strategy.source
        self.name = str(strategy)

    @property
    def needs(self) -> Needs:
        """What the strategy needs."""
        return self.strategy.needs

    @property
    def scores_uncertainty(self) -> bool:
        """Whether the strategy scores uncertainty."""
        return self.strategy.scores_uncertainty

    def score(self, predictions: Predictions) -> Tensor:
        """The strategy's score."""
        return predictions.once(self.strategy.score)


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


class Mixed(Wrapper):
    """Leaves part of each query to a second strategy, for example to random knees that keep the labels representative.

    Both see the same predictions: if one needs posterior samples, a point strategy sees their mean.

    Args:
        first: Selects first, and its score is the score.
        second: Selects among the remaining knees.
        share: Share of the second strategy in the query, above 0 and at most 1.
    """

    def __init__(self, first: Strategy, second: Strategy, *, share: float) -> None:
        super().__init__(first)
        self.second = second
        self.share = check_float("share", share, 0.0, 1.0)
        self.source = f"{first.source}; {second.source}"
        self.name = f"{first} mixed with {second}"

    @property
    def needs(self) -> Needs:
        """The needs of both strategies."""
        return self.strategy.needs.joined(self.second.needs)

    def score(self, predictions: Predictions) -> Tensor:
        """The score of the first strategy."""
        return self.strategy.score(_for(self.strategy, predictions))

    def select(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None = None, seed: int
    ) -> tuple[str, ...]:
        """The knees of the first strategy, then those of the second.

        Raises:
            ValueError: n is not in [0, N].
        """
        check_query_size(n, len(predictions))
        n_second = round(self.share * n)

        def pick(strategy: Strategy, pool: Predictions, n: int, seed: int) -> tuple[str, ...]:
            known = None if labeled is None or not strategy.needs.features else _for(strategy, labeled)
            return strategy.select(_for(strategy, pool), n, labeled=known, seed=seed)

        chosen = pick(self.strategy, predictions, n - n_second, seed)
        taken = set(chosen)
        rest = [k for k, i in enumerate(predictions.ids) if i not in taken]
        if taken:
            new = predictions.take([k for k, i in enumerate(predictions.ids) if i in taken])
            labeled = new if labeled is None else labeled.joined(new)
        return (*chosen, *pick(self.second, predictions.take(rest), n_second, derive_seed(seed, "second")))


def _for(strategy: Strategy, predictions: Predictions) -> Predictions:
    """The predictions as one strategy needs them."""
    log_probs = predictions.log_probs
    if log_probs is not None and strategy.needs.posterior is Posterior.POINT and log_probs.shape[1] > 1:
        log_probs = measures.mean_log_probs(log_probs).unsqueeze(1)
    return replace(predictions, log_probs=log_probs)
