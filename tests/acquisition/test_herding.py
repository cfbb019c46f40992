from __future__ import annotations

import pytest
import torch
from helpers.pools import pool, rows

from kneeal import acquisition
from kneeal.acquisition import Predictions, measures
from kneeal.acquisition.herding import smallest_distance


def unit(predictions: Predictions) -> torch.Tensor:
    assert predictions.features is not None
    return predictions.features / predictions.features.norm(dim=1, keepdim=True)


def coverage(x: torch.Tensor, centers: torch.Tensor, weights: torch.Tensor, scale: float) -> float:
    kernel = torch.exp(-((x[:, None] - centers) ** 2).sum(-1) / scale**2)
    return float((weights * kernel.max(dim=1).values).mean())


def assert_greedy(chosen: list[int], x: torch.Tensor, known: torch.Tensor, weights: torch.Tensor, scale: float) -> None:
    """Every coverage from scratch; of two knees that only cover each other, either may come first."""
    for k in range(len(chosen)):
        free = [i for i in range(len(x)) if i not in chosen[:k]]
        after = {i: coverage(x, torch.cat([known, x[[*chosen[:k], i]]]), weights, scale) for i in free}
        assert after[chosen[k]] == pytest.approx(max(after.values()), abs=1e-12)


@pytest.mark.parametrize("labels", [0, 6])
@pytest.mark.parametrize("scale", [0.4, 1.0])
def test_max_herding_by_every_coverage_from_scratch(labels: int, scale: float) -> None:
    for seed in range(3):
        predictions, labeled = pool(40, seed=seed), pool(6, seed=9, prefix="known").take(list(range(labels)))
        chosen = acquisition.get("max_herding", length_scale=scale).select(predictions, 8, labeled=labeled, seed=0)
        assert len(set(chosen)) == 8
        assert_greedy(rows(predictions, chosen), unit(predictions), unit(labeled), torch.ones(40), scale)


@pytest.mark.parametrize("labels", [0, 6])
def test_uncertainty_herding_by_every_coverage_from_scratch(labels: int) -> None:
    for seed in range(3):
        predictions, labeled = pool(40, seed=seed), pool(6, seed=9, prefix="known").take(list(range(labels)))
        chosen = acquisition.get("uncertainty_herding").select(predictions, 8, labeled=labeled, seed=0)
        known = unit(labeled)
        scale = min([1.0, *(float((a - b).norm()) for i, a in enumerate(known) for b in known[:i])])
        weights = measures.margin(predictions.require_log_probs())
        assert len(set(chosen)) == 8
        assert_greedy(rows(predictions, chosen), unit(predictions), known, weights, scale)


def test_the_lazy_choice_is_the_greedy_one_in_a_pool_of_several_batches() -> None:
    predictions = pool(300)
    chosen = acquisition.get("max_herding", length_scale=0.3).select(predictions, 12, seed=0)
    assert_greedy(rows(predictions, chosen), unit(predictions), unit(predictions)[:0], torch.ones(300), 0.3)


def test_a_certain_part_of_the_pool_needs_no_cover() -> None:
    x = torch.tensor([[1.0, 0.0]] * 10 + [[0.0, 1.0]] * 3)
    log_probs = torch.tensor([[[0.999, 0.001]]] * 10 + [[[0.5, 0.5]]] * 3).log()
    knees = Predictions(tuple("abcdefghijklm"), log_probs, x)
    assert acquisition.get("max_herding").select(knees, 1, seed=0)[0] in "abcdefghij"
    assert acquisition.get("uncertainty_herding").select(knees, 1, seed=0)[0] in "klm"


def test_a_large_pool_is_subsampled() -> None:
    predictions = pool(200)
    strategy = acquisition.get("max_herding", max_knees=50)
    assert len({strategy.select(predictions, 3, seed=seed) for seed in range(4)}) == 4
    assert len(set(strategy.select(predictions, 120, seed=0))) == 120


def test_copies_do_not_shrink_the_length_scale_to_nothing() -> None:
    x = torch.nn.functional.normalize(torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 1.2]]), dim=1)
    assert smallest_distance(x, default=1.0) == pytest.approx(float((x[0] - x[2]).norm()), rel=1e-3)
    assert smallest_distance(x[:1], default=1.0) == 1.0
