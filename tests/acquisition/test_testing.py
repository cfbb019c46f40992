"""The conformance suite catches what it is there to catch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kneeal.acquisition import Posterior, Predictions, Strategy, measures
from kneeal.acquisition.testing import StrategyContract


class Good(Strategy):
    """Good."""

    posterior = Posterior.POINT
    source = "here"

    def score(self, predictions: Predictions) -> Tensor:
        return measures.entropy(predictions.require_log_probs())


class NoSource(Good):
    """No source."""

    source = " "


class WrongShape(Good):
    """Wrong shape."""

    def score(self, predictions: Predictions) -> Tensor:
        return predictions.require_log_probs().mean(1)


class NotANumber(Good):
    """p log p without care."""

    def score(self, predictions: Predictions) -> Tensor:
        log_probs = predictions.require_log_probs()
        return -(log_probs.exp() * log_probs).sum(-1).mean(1)


class Writes(Good):
    """Writes into what it is given."""

    def score(self, predictions: Predictions) -> Tensor:
        log_probs = predictions.require_log_probs()
        log_probs[0] = log_probs[1]
        return super().score(predictions)


class First(Good):
    """Depends on the order of the pool."""

    def select(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None = None, seed: int
    ) -> tuple[str, ...]:
        super().select(predictions, n, seed=seed)
        return predictions.ids[:n]


class Repeats(Good):
    """Gives one knee n times."""

    def select(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None = None, seed: int
    ) -> tuple[str, ...]:
        return predictions.ids[:1] * n


class Global(Good):
    """Draws from the global random state."""

    def select(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None = None, seed: int
    ) -> tuple[str, ...]:
        super().select(predictions, n, seed=seed)
        return tuple(predictions.ids[k] for k in torch.randperm(len(predictions))[:n].tolist())


class Stateful(Good):
    """Chooses otherwise the second time."""

    calls = 0

    def select(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None = None, seed: int
    ) -> tuple[str, ...]:
        type(self).calls += 1
        return super().select(predictions, n, seed=seed)[:: 1 if self.calls % 2 else -1]


def failures(make: Callable[[], Strategy]) -> set[str]:
    contract = type("Contract", (StrategyContract,), {"make": lambda self: make()})()
    failed = set()
    for name in dir(contract):
        if name.startswith("test_"):
            try:
                getattr(contract, name)()
            except Exception:
                failed.add(name)
    return failed


def test_a_good_strategy_passes() -> None:
    assert failures(Good) == set()


@pytest.mark.parametrize(
    ("bad", "caught_by"),
    [
        (NoSource, "test_declares_what_it_needs_and_where_it_comes_from"),
        (WrongShape, "test_score_is_one_finite_number_per_knee"),
        (NotANumber, "test_score_of_a_certain_prediction_is_finite"),
        (Writes, "test_inputs_are_not_modified"),
        (First, "test_select_does_not_depend_on_the_order_of_the_pool"),
        (Repeats, "test_select_returns_n_distinct_knees_of_the_pool"),
        (Repeats, "test_select_refuses_a_query_that_the_pool_cannot_fill"),
        (Global, "test_global_random_state_is_neither_used_nor_touched"),
        (Stateful, "test_select_repeats_with_its_seed"),
    ],
)
def test_a_bad_one_is_caught(bad: type[Strategy], caught_by: str) -> None:
    assert caught_by in failures(bad)
