from __future__ import annotations

from collections import Counter

import pytest
import torch

from kneeal import acquisition
from kneeal.acquisition import Posterior, Predictions, Strategy, measures
from kneeal.acquisition.testing import StrategyContract
from kneeal.errors import UserError


class TestRandom(StrategyContract):
    def make(self) -> Strategy:
        return acquisition.get("random")


class TestLeastConfidence(StrategyContract):
    def make(self) -> Strategy:
        return acquisition.get("least_confidence")


class TestEntropy(StrategyContract):
    def make(self) -> Strategy:
        return acquisition.get("entropy")


class TestEntropyMCD(StrategyContract):
    def make(self) -> Strategy:
        return acquisition.get("entropy_mcd")


class TestMutualInformationMCD(StrategyContract):
    def make(self) -> Strategy:
        return acquisition.get("mi_mcd")


POOL = tuple("abc")
# a: samples agree that it is a toss-up; b: each is sure, of different grades; c: all are sure of one.
LOG_PROBS = torch.tensor([[[0.5, 0.5]] * 2, [[0.95, 0.05], [0.05, 0.95]], [[0.99, 0.01]] * 2]).log()


def test_entropy_of_samples_takes_both_kinds_of_doubt_and_mutual_information_only_one() -> None:
    predictions = Predictions(POOL, LOG_PROBS)
    assert acquisition.get("mi_mcd").select(predictions, 1, seed=0) == ("b",)
    assert set(acquisition.get("entropy_mcd").select(predictions, 2, seed=0)) == {"a", "b"}
    assert acquisition.get("entropy").select(predictions.take([0, 2]), 1, seed=0) == ("a",)


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("least_confidence", measures.least_confidence),
        ("entropy", measures.entropy),
        ("entropy_mcd", measures.entropy),
        ("mi_mcd", measures.mutual_information),
    ],
)
def test_scores_are_the_measures(name: str, measure: object) -> None:
    assert torch.equal(acquisition.get(name).score(Predictions(POOL, LOG_PROBS)), measure(LOG_PROBS))  # type: ignore[operator]


def test_random_draws_every_knee_equally_often() -> None:
    pool = Predictions(tuple(map(str, range(10))))
    counts = Counter(i for seed in range(3000) for i in acquisition.get("random").select(pool, 3, seed=seed))
    # 900 expected, standard deviation 25.
    assert all(abs(count - 900) < 110 for count in counts.values())


def test_ties_are_broken_by_the_seed_alone() -> None:
    tied = Predictions(tuple("abcdef"), LOG_PROBS[:1].expand(6, -1, -1))
    firsts = {acquisition.get("entropy_mcd").select(tied, 1, seed=seed) for seed in range(60)}
    assert firsts == {(i,) for i in "abcdef"}


def test_what_they_need() -> None:
    needs = {name: acquisition.get(name).posterior for name in ("random", "entropy", "least_confidence", "mi_mcd")}
    assert list(needs.values()) == [Posterior.NONE, Posterior.POINT, Posterior.POINT, Posterior.SAMPLES]
    assert acquisition.get("mi_mcd").n_samples == 50
    assert acquisition.get("entropy_mcd", n_samples=7).n_samples == 7


@pytest.mark.parametrize("n_samples", [1, 0, 2.5, "many", True])
def test_impossible_numbers_of_samples_are_refused(n_samples: object) -> None:
    with pytest.raises(UserError, match="n_samples"):
        acquisition.get("mi_mcd", n_samples=n_samples)


def test_without_probabilities_there_is_no_score() -> None:
    with pytest.raises(ValueError, match="needs log_probs"):
        acquisition.get("entropy").score(Predictions(POOL))
