"""A conformance suite for strategies: subclass it in your tests and let it make your strategy.

>>> from kneeal.acquisition.testing import StrategyContract
>>> class TestMine(StrategyContract):
...     def make(self):
...         return MyStrategy(option=3)

pytest collects the test methods; any other runner can call them.
"""

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from kneeal.acquisition.predictions import Needs, Posterior, Predictions
from kneeal.acquisition.strategy import Strategy


class StrategyContract:
    """What every strategy must do. Subclass it and implement `make`."""

    n_classes: int = 5
    n_features: int = 8

    @abstractmethod
    def make(self) -> Strategy:
        """The strategy under test, the same on each call."""

    def pool(self, n: int = 40, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Predictions:
        """A pool of n knees without ties, with what the strategy needs."""
        needs = self.make().needs
        generator = torch.Generator().manual_seed(seed)
        n_samples = 6 if needs.posterior is Posterior.SAMPLES else 1
        logits = 2 * torch.randn(n, n_samples, self.n_classes, generator=generator, dtype=torch.float64)
        log_probs = None if needs.posterior is Posterior.NONE else logits.log_softmax(-1).to(dtype)
        features = torch.randn(n, self.n_features, generator=generator, dtype=torch.float64).to(dtype)
        ids = tuple(f"knee{seed}_{k}" for k in range(n))
        counts = torch.arange(self.n_classes) if needs.label_counts else None
        return Predictions(ids, log_probs, features if needs.features else None, counts)

    def labeled(self) -> Predictions | None:
        """Labeled knees, for strategies that need features."""
        return self.pool(5, seed=1) if self.make().needs.features else None

    def _select(self, predictions: Predictions, n: int, seed: int = 3) -> tuple[str, ...]:
        return self.make().select(predictions, n, labeled=self.labeled(), seed=seed)

    def test_declares_what_it_needs_and_where_it_comes_from(self) -> None:
        """`needs`, `source` and a docstring are present."""
        strategy = self.make()
        assert isinstance(strategy, Strategy), "a strategy must be a subclass of kneeal.acquisition.Strategy"
        needs = strategy.needs
        assert isinstance(needs, Needs), "needs must be a Needs"
        assert isinstance(needs.posterior, Posterior), "posterior must be a member of Posterior"
        assert isinstance(needs.features, bool), "needs_features must be True or False"
        assert strategy.source.strip(), "source must say where the strategy comes from"
        assert (type(strategy).__doc__ or "").strip(), "the class needs a docstring; its first sentence is listed"
        if needs.posterior is Posterior.SAMPLES:
            assert needs.n_samples >= 2, "a strategy on samples must need at least 2"

    def test_score_is_one_finite_number_per_knee(self) -> None:
        """`score` returns finite [N], for float32 and float64."""
        for dtype in (torch.float32, torch.float64):
            predictions = self.pool(dtype=dtype)
            score = self.make().score(predictions)
            assert isinstance(score, Tensor), f"score must return a tensor but returned {type(score).__name__}"
            assert score.shape == (len(predictions),), f"score must return [N] but returned {tuple(score.shape)}"
            assert bool(torch.isfinite(score).all()), "scores must be finite"

    def test_score_of_a_certain_prediction_is_finite(self) -> None:
        """Probabilities of exactly 0 do not lead to NaN."""
        predictions = self.pool(4)
        if predictions.log_probs is None:
            return
        certain = torch.full_like(predictions.log_probs, -torch.inf)
        certain[..., 0] = 0.0
        score = self.make().score(replace(predictions, log_probs=certain))
        assert bool(torch.isfinite(score).all()), "a probability of exactly 0 must not make a score NaN or infinite"

    def test_select_returns_n_distinct_knees_of_the_pool(self) -> None:
        """For none, some and all of the knees."""
        predictions = self.pool()
        for n in (0, 1, 7, len(predictions)):
            chosen = self._select(predictions, n)
            assert len(chosen) == n, f"select must return {n} knees but returned {len(chosen)}"
            assert len(set(chosen)) == n, "select must not return a knee twice"
            assert set(chosen) <= set(predictions.ids), "select must return ids of the pool"

    def test_select_from_a_pool_of_one(self) -> None:
        """The only knee is selected."""
        predictions = self.pool(1)
        assert self._select(predictions, 1) == predictions.ids

    def test_select_refuses_a_query_that_the_pool_cannot_fill(self) -> None:
        """N above N or below 0 is a ValueError."""
        predictions = self.pool(3)
        for n in (4, -1):
            try:
                self._select(predictions, n)
            except ValueError:
                continue
            raise AssertionError(f"select must raise ValueError for n = {n} of 3 knees")

    def test_select_repeats_with_its_seed(self) -> None:
        """The same seed selects the same knees in the same order."""
        assert self._select(self.pool(), 9, seed=5) == self._select(self.pool(), 9, seed=5), (
            "select must be reproducible"
        )

    def test_select_does_not_depend_on_the_order_of_the_pool(self) -> None:
        """A permuted pool gives the same query, with and without equal knees in it."""
        few = self.pool(10)
        copies = replace(
            few,
            ids=tuple(f"{i}_{k}" for k in range(4) for i in few.ids),
            log_probs=None if few.log_probs is None else few.log_probs.repeat(4, 1, 1),
            features=None if few.features is None else few.features.repeat(4, 1),
        )
        for predictions in (self.pool(), copies):
            order = torch.randperm(len(predictions), generator=torch.Generator().manual_seed(2)).tolist()
            permuted = predictions.take(order)
            for seed in range(5):
                assert set(self._select(permuted, 9, seed)) == set(self._select(predictions, 9, seed)), (
                    "select must return the same knees whatever the order of the pool"
                )

    def test_inputs_are_not_modified(self) -> None:
        """Neither `score` nor `select` writes into the predictions."""
        predictions, before = self.pool(), self.pool()
        self.make().score(predictions)
        self._select(predictions, 5)
        for name in ("log_probs", "features"):
            now, then = getattr(predictions, name), getattr(before, name)
            assert then is None or torch.equal(now, then), f"{name} must not be modified in place"

    def test_global_random_state_is_neither_used_nor_touched(self) -> None:
        """All randomness comes from the seed that is passed to `select`."""
        results = []
        for state in (1, 2):
            torch.manual_seed(state)
            before = torch.get_rng_state()
            results.append(self._select(self.pool(), 5))
            assert torch.equal(torch.get_rng_state(), before), "the global random state must not be touched"
        assert results[0] == results[1], "the global random state must not be used"
