from __future__ import annotations

import statistics
from collections import Counter

import pytest
import torch
from helpers.pools import pool

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
    knees = Predictions(tuple(map(str, range(10))))
    counts = Counter(i for seed in range(3000) for i in acquisition.get("random").select(knees, 3, seed=seed))
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


def test_margin_by_its_definition() -> None:
    predictions = pool(20, k=1)
    expected = []
    for probs in predictions.require_log_probs()[:, 0].exp().tolist():
        first, second, _ = sorted(probs, reverse=True)
        expected.append(1 - (first - second))
    assert acquisition.get("margin").score(predictions).tolist() == pytest.approx(expected)


def test_margin_of_a_toss_up_and_of_a_single_class() -> None:
    toss_up = Predictions(("a",), torch.tensor([[[0.5, 0.5, 0.0]]]).log())
    assert float(acquisition.get("margin").score(toss_up)) == pytest.approx(1.0)
    assert float(acquisition.get("margin").score(Predictions(("a",), torch.zeros(1, 1, 1)))) == 0.0


def test_variation_ratio_by_counting_votes() -> None:
    predictions = pool(30, k=7, c=4, sharp=1.0)
    expected = []
    for samples in predictions.require_log_probs().tolist():
        votes = Counter(max(range(4), key=sample.__getitem__) for sample in samples)
        expected.append(1 - max(votes.values()) / 7)
    assert acquisition.get("variation_ratio").score(predictions).tolist() == pytest.approx(expected)
    assert len(set(expected)) > 2


def test_variance_by_its_definition() -> None:
    predictions = pool(10, c=5)
    for name in ("total", "data", "epistemic"):
        expected = []
        for samples in predictions.require_log_probs().exp().tolist():
            means = [sum(c * p for c, p in enumerate(s)) for s in samples]
            variances = [sum((c - m) ** 2 * p for c, p in enumerate(s)) for s, m in zip(samples, means, strict=True)]
            mixture = [sum(s[c] for s in samples) / len(samples) for c in range(5)]
            mean = sum(c * p for c, p in enumerate(mixture))
            parts = {
                "total": sum((c - mean) ** 2 * p for c, p in enumerate(mixture)),
                "data": statistics.fmean(variances),
                "epistemic": statistics.pvariance(means),
            }
            expected.append(parts[name])
        found = acquisition.get("expected_grade_variance", part=name).score(predictions)
        assert found.tolist() == pytest.approx(expected)


def test_absolute_error_by_trying_every_guess() -> None:
    predictions = pool(15, c=5)
    expected = []
    for samples in predictions.require_log_probs().exp().tolist():
        mixture = [sum(s[c] for s in samples) / len(samples) for c in range(5)]
        expected.append(min(sum(p * abs(c - guess) for c, p in enumerate(mixture)) for guess in range(5)))
    assert acquisition.get("expected_absolute_error").score(predictions).tolist() == pytest.approx(expected)


def test_they_tell_a_far_doubt_from_a_near_one_and_entropy_does_not() -> None:
    near, far = [0.5, 0.5, 0.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0, 0.5]
    predictions = Predictions(("near", "far"), torch.tensor([[near] * 2, [far] * 2]).log())
    entropy = acquisition.get("entropy_mcd").score(predictions)
    assert float(entropy[0]) == pytest.approx(float(entropy[1]))
    for name, values in {"expected_grade_variance": (0.25, 4.0), "expected_absolute_error": (0.5, 2.0)}.items():
        assert acquisition.get(name).score(predictions).tolist() == pytest.approx(values)
        assert acquisition.get(name).select(predictions, 1, seed=0) == ("far",)


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(UserError, match="part = 'all'"):
        acquisition.get("expected_grade_variance", part="all")
