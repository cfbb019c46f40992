from __future__ import annotations

from collections import Counter

import pytest
import torch
from helpers.pools import pool

from kneeal import acquisition
from kneeal.acquisition import Predictions


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
