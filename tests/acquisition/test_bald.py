from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
from helpers.pools import pool

from kneeal import acquisition
from kneeal.acquisition import Predictions, measures
from kneeal.errors import UserError


def test_bald_is_mi_mcd() -> None:
    assert type(acquisition.get("bald")) is type(acquisition.get("mi_mcd"))
    predictions = pool(30)
    assert acquisition.get("bald").select(predictions, 5, seed=1) == acquisition.get("mi_mcd").select(
        predictions, 5, seed=1
    )


def weights(name: str, beta: float, predictions: Predictions) -> list[float]:
    """The weights that the source gives each knee."""
    scores = measures.mutual_information(predictions.require_log_probs()).tolist()
    if name == "power_bald":
        return [s**beta for s in scores]
    if name == "softmax_bald":
        return [math.exp(beta * s) for s in scores]
    ranks = {i: rank for rank, i in enumerate(sorted(range(len(scores)), key=lambda i: -scores[i]), start=1)}
    return [ranks[i] ** -beta for i in range(len(scores))]


@pytest.mark.parametrize(("name", "beta"), [("power_bald", 1.0), ("softmax_bald", 4.0), ("softrank_bald", 1.5)])
def test_pairs_are_drawn_without_replacement_by_their_weights(name: str, beta: float) -> None:
    predictions = pool(4)
    w = weights(name, beta, predictions)
    expected = {
        (predictions.ids[i], predictions.ids[j]): w[i] / sum(w) * w[j] / (sum(w) - w[i])
        for i, j in itertools.permutations(range(4), 2)
    }
    strategy = acquisition.get(name, beta=beta)
    n = 800
    counts = Counter(strategy.select(predictions, 2, seed=seed) for seed in range(n))
    for pair, probability in expected.items():
        deviation = math.sqrt(probability * (1 - probability) / n)
        assert abs(counts[pair] / n - probability) < 5 * deviation + 1e-9, pair


def test_a_knee_without_information_is_drawn_last() -> None:
    predictions = pool(5)
    log_probs = predictions.require_log_probs().clone()
    log_probs[3] = log_probs[3, :1]  # all samples agree
    predictions = Predictions(predictions.ids, log_probs)
    for seed in range(30):
        assert acquisition.get("power_bald").select(predictions, 5, seed=seed)[-1] == "knee003"


def test_a_large_beta_takes_the_highest_scores() -> None:
    predictions = pool(40)
    top = acquisition.get("bald").select(predictions, 5, seed=0)
    assert acquisition.get("softmax_bald", beta=1e7).select(predictions, 5, seed=0) == top


@pytest.mark.parametrize("beta", [0, -1.0, "high", float("inf"), True])
def test_a_beta_that_is_none_is_refused(beta: object) -> None:
    with pytest.raises(UserError, match="beta"):
        acquisition.get("power_bald", beta=beta)
