from __future__ import annotations

import pytest
import torch
from helpers.pools import pool, rows

from kneeal import acquisition
from kneeal.acquisition import Predictions, cluster_margin
from kneeal.acquisition.cluster_margin import average_linkage


def greedy_linkage(x: torch.Tensor, k: int) -> set[frozenset[int]]:
    """Join the two nearest clusters until k are left, distances averaged over all pairs."""
    distance = torch.cdist(x, x)
    clusters = [frozenset([i]) for i in range(len(x))]
    while len(clusters) > k:
        pairs = [(a, b) for i, a in enumerate(clusters) for b in clusters[:i]]
        a, b = min(pairs, key=lambda pair: float(distance[sorted(pair[0])][:, sorted(pair[1])].mean()))
        clusters = [c for c in clusters if c not in (a, b)] + [a | b]
    return set(clusters)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 4, 19, 25])
def test_linkage_by_joining_the_nearest(seed: int, k: int) -> None:
    x = pool(25, seed=seed).features
    assert x is not None
    labels = average_linkage(x, k).tolist()
    found = {frozenset(i for i, label in enumerate(labels) if label == c) for c in set(labels)}
    assert found == greedy_linkage(x, k)
    assert sorted(set(labels)) == list(range(k))


def test_one_of_each_cluster_from_the_smallest() -> None:
    x = torch.cat([torch.zeros(2, 2), torch.full((3, 2), 10.0), torch.tensor([[0.0, 50.0]] * 5)])
    x = x + torch.arange(10.0)[:, None] / 1000
    log_probs = torch.tensor([[[0.5, 0.5]]] * 10).log()
    predictions = Predictions(tuple("abcdefghij"), log_probs, x)
    strategy = acquisition.get("cluster_margin", cluster_size=4)
    for seed in range(10):
        first, second, third, fourth = strategy.select(predictions, 4, seed=seed)
        assert first in "ab"
        assert second in "cde"
        assert third in "fghij"
        assert fourth in "ab"


def test_only_knees_of_the_lowest_margin_are_candidates() -> None:
    predictions = pool(60, k=1)
    scores = acquisition.get("margin").score(predictions)
    lowest = set(scores.topk(15).indices.tolist())
    chosen = acquisition.get("cluster_margin", oversampling=3).select(predictions, 5, seed=0)
    assert set(rows(predictions, chosen)) <= lowest


def test_a_query_too_large_to_cluster_is_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_margin, "_MAX_CANDIDATES", 4)
    predictions = pool(20, k=1)
    expected = acquisition.get("margin").select(predictions, 6, seed=0)
    assert set(acquisition.get("cluster_margin").select(predictions, 6, seed=0)) == set(expected)
