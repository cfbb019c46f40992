from __future__ import annotations

from collections import Counter

import pytest
import torch
from helpers.pools import pool, rows

from kneeal import acquisition
from kneeal.acquisition import Predictions


def gradients(predictions: Predictions) -> torch.Tensor:
    """The gradient of the cross-entropy to the last layer, by autograd: [N, C F]."""
    assert predictions.features is not None
    result = []
    for log_probs, h in zip(predictions.require_log_probs()[:, 0], predictions.features, strict=True):
        # A layer that gives exactly these probabilities for h.
        weight = torch.outer(log_probs, h / h.square().sum()).requires_grad_()
        logits = weight @ h
        loss = torch.nn.functional.cross_entropy(logits[None], logits.argmax()[None])
        result.append(torch.autograd.grad(loss, weight)[0].flatten())
    return torch.stack(result)


def test_scores_are_lengths_of_gradients() -> None:
    predictions = pool(20, k=1)
    torch.testing.assert_close(acquisition.get("badge").score(predictions), gradients(predictions).norm(dim=1))


def test_the_first_is_the_longest_and_the_second_is_drawn_by_squared_distance() -> None:
    predictions = pool(6, k=1, sharp=1.0)
    g = gradients(predictions)
    first = int(g.norm(dim=1).argmax())
    square = (g - g[first]).square().sum(dim=1)
    expected = square / square.sum()
    n = 800
    counts: Counter[int] = Counter()
    for seed in range(n):
        chosen = rows(predictions, acquisition.get("badge").select(predictions, 2, seed=seed))
        assert chosen[0] == first
        counts[chosen[1]] += 1
    for position, probability in enumerate(expected.tolist()):
        assert abs(counts[position] / n - probability) < 5 * (probability * (1 - probability) / n) ** 0.5 + 1e-9


def test_the_third_is_drawn_by_the_distance_to_the_nearer_of_both() -> None:
    predictions = pool(5, k=1, sharp=1.0)
    g = gradients(predictions)
    distance = torch.cdist(g, g).square()
    counts: Counter[tuple[int, ...]] = Counter(
        tuple(rows(predictions, acquisition.get("badge").select(predictions, 3, seed=seed))) for seed in range(1500)
    )
    pair = Counter()
    for (a, b, _), count in counts.items():
        pair[a, b] += count
    (a, b), n = pair.most_common(1)[0]
    near = torch.minimum(distance[a], distance[b])
    for c, probability in enumerate((near / near.sum()).tolist()):
        assert abs(counts[a, b, c] / n - probability) < 5 * (probability * (1 - probability) / n) ** 0.5 + 1e-9


def test_copies_come_last() -> None:
    base = pool(3, k=1)
    assert base.features is not None
    twins = Predictions(
        tuple("abcdef"), base.require_log_probs().repeat(2, 1, 1).float(), base.features.repeat(2, 1).float()
    )
    for seed in range(20):
        chosen = acquisition.get("badge").select(twins, 3, seed=seed)
        assert {"ad".find(i) >= 0 for i in chosen} == {True, False}
        assert len({"abcdef".index(i) % 3 for i in chosen}) == 3


@pytest.mark.parametrize("n", [1, 6])
def test_one_and_all(n: int) -> None:
    assert len(set(acquisition.get("badge").select(pool(6, k=1), n, seed=0))) == n


def fishers(predictions: Predictions) -> list[torch.Tensor]:
    assert predictions.features is not None
    p = predictions.require_log_probs().exp().mean(dim=1).max(dim=1).values
    return [q * (1 - q) * torch.outer(h, h) for q, h in zip(p, predictions.features, strict=True)]


def brute_force(predictions: Predictions, labeled: Predictions | None, n: int, penalty: float, times: int) -> set[int]:
    """Every trace from scratch: greedily forward, then greedily backward."""
    pool_, known = fishers(predictions), [] if labeled is None else fishers(labeled)
    fisher = sum([*pool_, *known])
    start = sum(known, penalty * torch.eye(len(pool_[0]), dtype=torch.float64))

    def trace(chosen: list[int]) -> float:
        return float(torch.trace(torch.linalg.inv(start + sum(pool_[i] for i in chosen)) @ fisher))

    chosen: list[int] = []
    for _ in range(min(times * n, len(pool_))):
        chosen.append(min((i for i in range(len(pool_)) if i not in chosen), key=lambda i: trace([*chosen, i])))
    while len(chosen) > n:
        chosen.remove(min(chosen, key=lambda i: trace([j for j in chosen if j != i])))
    return set(chosen)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("with_labels", [False, True])
def test_by_every_trace_from_scratch(times: int, with_labels: bool) -> None:
    for seed in range(3):
        predictions = pool(25, k=1, seed=seed, sharp=1.0)
        labeled = pool(6, k=1, seed=7, prefix="known") if with_labels else None
        strategy = acquisition.get("bait", regularization=0.5, oversampling=times)
        chosen = strategy.select(predictions, 6, labeled=labeled, seed=0)
        assert set(rows(predictions, chosen)) == brute_force(predictions, labeled, 6, 0.5, times)


def test_scores_are_traces_of_the_information() -> None:
    predictions = pool(10, k=1)
    expected = [float(torch.trace(information)) for information in fishers(predictions)]
    assert acquisition.get("bait").score(predictions).tolist() == pytest.approx(expected)


def test_a_copy_teaches_less_than_something_new() -> None:
    h = torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    predictions = Predictions(tuple("abc"), torch.tensor([[[0.5, 0.5]]] * 3).log(), h)
    assert "c" in acquisition.get("bait", regularization=0.01, oversampling=1).select(predictions, 2, seed=0)
