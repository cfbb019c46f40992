from __future__ import annotations

import pytest
import torch
from helpers.pools import pool
from torch import Tensor

from kneeal import acquisition
from kneeal.acquisition import Needs, Posterior, Predictions, Strategy
from kneeal.acquisition.testing import StrategyContract
from kneeal.acquisition.wrappers import Checked, Mixed, rehearse
from kneeal.errors import UserError

KNEES = pool(12)


class TestChecked(StrategyContract):
    def make(self) -> Strategy:
        return Checked(acquisition.get("badge"))


class Broken(type(acquisition.get("entropy"))):  # type: ignore[misc]
    """Does whatever the test says."""

    def __init__(self, *, score: object = None, chosen: object = None) -> None:
        self.scores, self.chosen = score, chosen

    def score(self, predictions: Predictions) -> Tensor:
        if isinstance(self.scores, Exception):
            raise self.scores
        return self.scores  # type: ignore[return-value]

    def select(self, predictions: Predictions, n: int, **options: object) -> tuple[str, ...]:  # type: ignore[override]
        return self.chosen  # type: ignore[return-value]


def notes(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", ()))


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (torch.zeros(12, 2), r"(?s)score returned a tensor \[12, 2\].*N = 12"),
        ([0.0] * 12, "score returned list"),
        (torch.full((12,), torch.nan), "finite"),
        (KeyError("weights"), "weights"),
    ],
)
def test_a_wrong_score_names_the_strategy(score: object, message: str) -> None:
    with pytest.raises((ValueError, KeyError), match=message) as error:
        Checked(Broken(score=score)).score(KNEES)
    assert "the strategy Broken" in str(error.value) + notes(error.value)


@pytest.mark.parametrize("chosen", [("knee000",), ("knee000", "knee000"), ("knee000", "stranger"), ()])
def test_a_wrong_query_names_the_strategy(chosen: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"(?s)strategy Broken: select returned .*expected: 2 distinct ids"):
        Checked(Broken(score=torch.zeros(12), chosen=chosen)).select(KNEES, 2, seed=0)


@pytest.mark.parametrize("name", acquisition.available())
def test_every_strategy_can_be_rehearsed(name: str) -> None:
    rehearse(acquisition.get(name), 5)


def test_the_name_is_the_one_that_was_asked_for() -> None:
    assert str(Checked(acquisition.get("bald"))) == "bald"


def test_nothing_else_changes() -> None:
    for name in ("mi_mcd", "coreset", "random"):
        strategy = acquisition.get(name)
        checked = Checked(strategy)
        assert checked.needs == strategy.needs
        assert checked.scores_uncertainty == strategy.scores_uncertainty
        assert checked.select(KNEES, 5, seed=2) == strategy.select(KNEES, 5, seed=2)
        assert torch.equal(checked.score(KNEES), strategy.score(KNEES))


POOL = pool(40)


class TestMixed(StrategyContract):
    def make(self) -> Strategy:
        return Mixed(acquisition.get("batch_bald"), acquisition.get("coreset"), share=0.4)


def test_a_mix_divides_the_query_and_both_see_what_they_need() -> None:
    mixed = Mixed(acquisition.get("entropy"), acquisition.get("bald"), share=0.25)
    assert mixed.needs == Needs(Posterior.SAMPLES, 50)
    chosen = mixed.select(POOL, 8, seed=0)
    mean = Predictions(POOL.ids, POOL.require_log_probs().exp().mean(1, keepdim=True).log())
    assert chosen[:6] == acquisition.get("entropy").select(mean, 6, seed=0)
    rest = [i for i in acquisition.get("bald").select(POOL, 40, seed=0) if i not in chosen[:6]]
    assert list(chosen[6:]) == rest[:2]
    torch.testing.assert_close(mixed.score(POOL), acquisition.get("entropy").score(mean))
