from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from helpers.pools import pool

from kneeal import acquisition
from kneeal.acquisition import Predictions
from kneeal.errors import UserError

COUNTS = torch.tensor([9, 0, 4])
KNEES = replace(pool(60, k=1, sharp=1.5), label_counts=COUNTS)


def probs(predictions: Predictions) -> list[list[float]]:
    return predictions.require_log_probs().exp().mean(1).tolist()


def predicted(predictions: Predictions) -> dict[str, int]:
    return {i: p.index(max(p)) for i, p in zip(predictions.ids, probs(predictions), strict=True)}


def uncertainty(predictions: Predictions, measure: str) -> dict[str, float]:
    def one(p: list[float]) -> float:
        first, second = sorted(p, reverse=True)[:2]
        return {
            "margin": 1 - (first - second),
            "least_confidence": 1 - first,
            "entropy": -sum(q * math.log(q) for q in p),
        }[measure]

    return {i: one(p) for i, p in zip(predictions.ids, probs(predictions), strict=True)}


@pytest.mark.parametrize("measure", ["margin", "entropy", "least_confidence"])
def test_the_query_by_hand(measure: str) -> None:
    chosen = acquisition.get("class_balanced", measure=measure).select(KNEES, 20, seed=1)
    grade, score, counts = predicted(KNEES), uncertainty(KNEES, measure), COUNTS.tolist()
    asked: list[str] = []
    for knee in chosen:
        free = [i for i in KNEES.ids if i not in asked]
        fewest = min(counts[grade[i]] for i in free)
        assert counts[grade[knee]] == fewest, "the grade with the fewest labels comes next"
        assert score[knee] == max(score[i] for i in free if grade[i] == grade[knee])
        counts[grade[knee]] += 1
        asked.append(knee)


def test_a_grade_without_knees_gives_way() -> None:
    few = KNEES.take([k for k, i in enumerate(KNEES.ids) if predicted(KNEES)[i] != 1])
    chosen = acquisition.get("class_balanced").select(few, len(few), seed=0)
    assert sorted(chosen) == sorted(few.ids)


def test_equal_counts_are_filled_in_an_order_that_the_seed_decides() -> None:
    even = replace(KNEES, label_counts=torch.zeros(3))
    firsts = Counter(predicted(even)[acquisition.get("class_balanced").select(even, 1, seed=s)[0]] for s in range(60))
    assert set(firsts) == {0, 1, 2}


def test_noise_varies_the_query_and_keeps_its_balance() -> None:
    noisy = acquisition.get("class_balanced", beta=1.0)
    queries = {noisy.select(KNEES, 10, seed=seed) for seed in range(5)}
    assert len(queries) == 5
    grade = predicted(KNEES)
    for query in queries:
        counts = Counter(grade[i] for i in query)
        assert (counts[0], counts[1], counts[2]) == (0, 7, 3)
    cold = acquisition.get("class_balanced", beta=1e6).select(KNEES, 10, seed=3)
    assert set(cold) == set(acquisition.get("class_balanced").select(KNEES, 10, seed=3))


@pytest.mark.parametrize("gain", ["loss", "rarity"])
def test_inverse_frequency_by_its_definition(gain: str) -> None:
    inverse = [1 / (n + 1) for n in COUNTS.tolist()]
    weights = [3 * w / sum(inverse) for w in inverse]
    expected = [
        sum(w * q * (-math.log(q) if gain == "loss" else 1) for w, q in zip(weights, p, strict=True))
        for p in probs(KNEES)
    ]
    found = acquisition.get("inverse_frequency", gain=gain).score(KNEES)
    assert found.tolist() == pytest.approx(expected)


def test_with_equal_counts_the_expected_loss_is_the_entropy() -> None:
    even = replace(KNEES, label_counts=torch.full((3,), 7))
    score = acquisition.get("inverse_frequency").score(even)
    torch.testing.assert_close(score, acquisition.get("entropy").score(even))


@pytest.mark.parametrize("name", ["class_balanced", "inverse_frequency"])
def test_label_counts_are_required(name: str) -> None:
    with pytest.raises(ValueError, match="needs label_counts"):
        acquisition.get(name).select(replace(KNEES, label_counts=None), 2, seed=0)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(UserError, match=r"(?s)measure = 'luck'.*one of: entropy, least_confidence, margin"):
        acquisition.get("class_balanced", measure="luck")
    with pytest.raises(UserError, match="beta = 0"):
        acquisition.get("class_balanced", beta=0)
    with pytest.raises(UserError, match="gain = 'all'"):
        acquisition.get("inverse_frequency", gain="all")
