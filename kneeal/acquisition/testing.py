"""A conformance suite for strategies: subclass it in your tests, give it your strategy.

>>> from kneeal.acquisition.testing import StrategyContract
>>> class TestMine(StrategyContract):
...     def make(self):
...         return MyStrategy(option=3)

pytest finds the test methods; any other runner may call them.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from kneeal.acquisition.predictions import Posterior, Predictions
from kneeal.acquisition.strategy import Strategy


class StrategyContract:
    """What every strategy must do. Subclass it and implement `make`."""

    n_classes: int = 5
    n_features: int = 8

    @abstractmethod
    def make(self) -> Strategy:
        """The strategy under test, the same at each call."""

    # -- material ----------------------------------------------------------------------------------------------------

    def pool(self, n: int = 40, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Predictions:
        """A pool of n knees without ties, with whatever the strategy needs."""
        strategy = self.make()
        generator = torch.Generator().manual_seed(seed)
        n_samples = 6 if strategy.posterior is Posterior.SAMPLES else 1
        logits = 2 * torch.randn(n, n_samples, self.n_classes, generator=generator, dtype=torch.float64)
        log_probs = None if strategy.posterior is Posterior.NONE else logits.log_softmax(-1).to(dtype)
        features = torch.randn(n, self.n_features, generator=generator, dtype=torch.float64).to(dtype)
        ids = tuple(f"knee{seed}_{k}" for k in range(n))
        return Predictions(ids, log_probs, features if strategy.needs_features else None)

    def labeled(self) -> Predictions | None:
        """Labeled knees, for strategies that need features."""
        return self.pool(5, seed=1) if self.make().needs_features else None

    def _select(self, predictions: Predictions, n: int, seed: int = 3) -> tuple[str, ...]:
        return self.make().select(predictions, n, labeled=self.labeled(), seed=seed)

    # -- what it declares --------------------------------------------------------------------------------------------

    def test_declares_what_it_needs_and_where_it_comes_from(self) -> None:
        """`posterior`, `needs_features`, `source` and a docstring are there."""
        strategy = self.make()
        assert isinstance(strategy, Strategy), "a strategy must be a subclass of kneeal.acquisition.Strategy"
        assert isinstance(strategy.posterior, Posterior), "posterior must be a member of Posterior"
        assert isinstance(strategy.needs_features, bool), "needs_features must be True or False"
        assert strategy.source.strip(), "source must say where the strategy comes from"
        assert (type(strategy).__doc__ or "").strip(), "the class needs a docstring; its first sentence is listed"
        if strategy.posterior is Posterior.SAMPLES:
            assert strategy.n_samples >= 2, "a strategy on samples must want at least 2"

    # -- score -------------------------------------------------------------------------------------------------------

    def test_score_is_one_finite_number_a_knee(self) -> None:
        """`score` gives [N], finite, for float32 and float64."""
        for dtype in (torch.float32, torch.float64):
            predictions = self.pool(dtype=dtype)
            score = self.make().score(predictions)
            assert isinstance(score, Tensor), f"score must give a tensor but gave {type(score).__name__}"
            assert score.shape == (len(predictions),), f"score must give [N] but gave {tuple(score.shape)}"
            assert bool(torch.isfinite(score).all()), "scores must be finite"

    def test_score_of_a_knee_that_the_network_is_sure_of_is_finite(self) -> None:
        """Probabilities of exactly 0 give no NaN."""
        predictions = self.pool(4)
        if predictions.log_probs is None:
            return
        sure = torch.full_like(predictions.log_probs, -torch.inf)
        sure[..., 0] = 0.0
        score = self.make().score(Predictions(predictions.ids, sure, predictions.features))
        assert bool(torch.isfinite(score).all()), "a probability of exactly 0 must not make a score NaN or infinite"

    # -- select ------------------------------------------------------------------------------------------------------

    def test_select_gives_n_distinct_knees_of_the_pool(self) -> None:
        """For no knee, some, and all."""
        predictions = self.pool()
        for n in (0, 1, 7, len(predictions)):
            chosen = self._select(predictions, n)
            assert len(chosen) == n, f"select must give {n} knees but gave {len(chosen)}"
            assert len(set(chosen)) == n, "select must not give a knee twice"
            assert set(chosen) <= set(predictions.ids), "select must give ids of the pool"

    def test_select_from_a_pool_of_one(self) -> None:
        """A single knee is chosen."""
        predictions = self.pool(1)
        assert self._select(predictions, 1) == predictions.ids

    def test_select_refuses_more_than_there_is(self) -> None:
        """N above N or below 0 is a ValueError."""
        predictions = self.pool(3)
        for n in (4, -1):
            try:
                self._select(predictions, n)
            except ValueError:
                continue
            raise AssertionError(f"select must raise ValueError for n = {n} of 3 knees")

    def test_select_repeats_with_its_seed(self) -> None:
        """The same seed gives the same knees in the same order."""
        assert self._select(self.pool(), 9, seed=5) == self._select(self.pool(), 9, seed=5), "select must repeat"

    def test_select_does_not_depend_on_the_order_of_the_pool(self) -> None:
        """Permuting the pool chooses the same knees, where no knees are tied or knees are chosen together."""
        predictions = self.pool()
        score = self.make().score(predictions)
        if len(torch.unique(score)) < len(score) and not self.make().batch_aware:
            return
        order = torch.randperm(len(predictions), generator=torch.Generator().manual_seed(2)).tolist()
        assert set(self._select(predictions.take(order), 9)) == set(self._select(predictions, 9)), (
            "select must choose the same knees whatever the order of the pool"
        )

    # -- manners -----------------------------------------------------------------------------------------------------

    def test_nothing_that_it_is_given_changes(self) -> None:
        """Neither score nor select writes into the predictions."""
        predictions, before = self.pool(), self.pool()
        self.make().score(predictions)
        self._select(predictions, 5)
        for name in ("log_probs", "features"):
            now, then = getattr(predictions, name), getattr(before, name)
            assert then is None or torch.equal(now, then), f"{name} must not be changed in place"

    def test_global_random_state_is_neither_used_nor_touched(self) -> None:
        """All randomness comes from the seed that select is given."""
        results = []
        for state in (1, 2):
            torch.manual_seed(state)
            before = torch.get_rng_state()
            results.append(self._select(self.pool(), 5))
            assert torch.equal(torch.get_rng_state(), before), "the global random state must not be touched"
        assert results[0] == results[1], "the global random state must not be used"
