"""Two strategies that share each query."""

from dataclasses import replace

from torch import Tensor

from kneeal.acquisition import measures
from kneeal.acquisition.options import check_float
from kneeal.acquisition.predictions import Needs, Posterior, Predictions
from kneeal.acquisition.strategy import Strategy, Wrapper, check_query_size
from kneeal.seeds import derive_seed


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
