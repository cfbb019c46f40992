"""Every strategy of the package is held to the contract, by being registered."""

from __future__ import annotations

import inspect

import pytest
import torch
from helpers.pools import pool

from kneeal import acquisition
from kneeal.acquisition import Predictions, Strategy
from kneeal.acquisition.testing import StrategyContract

CHECKS = [name for name, _ in inspect.getmembers(StrategyContract, inspect.isfunction) if name.startswith("test_")]
OURS = [n for n in acquisition.available() if type(acquisition.get(n)).__module__.startswith("kneeal.")]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", OURS)
def test_contract(name: str, check: str) -> None:
    class Contract(StrategyContract):
        def make(self) -> Strategy:
            return acquisition.get(name)

    getattr(Contract(), check)()


def test_all_of_them_are_held_to_it() -> None:
    expected = {
        *("margin", "variation_ratio", "bald", "power_bald", "softmax_bald", "softrank_bald", "batch_bald", "epig"),
        *("badge", "coreset", "cluster_margin", "typiclust", "probcover", "bait", "kmeans"),
        *("expected_grade_variance", "expected_absolute_error"),
        *("class_balanced", "inverse_frequency", "max_herding", "uncertainty_herding", "drop_query"),
    }
    assert expected <= set(OURS)
    assert len(CHECKS) >= 10


@pytest.mark.parametrize("name", OURS)
def test_a_pool_of_copies_and_certain_knees_is_served(name: str) -> None:
    n = 12
    log_probs = torch.full((n, 4, 5), -torch.inf)
    log_probs[..., 2] = 0.0
    twins = Predictions(tuple(map(str, range(n))), log_probs, torch.zeros(n, 3), torch.zeros(5))
    for labeled in (None, Predictions(("l",), log_probs[:1], torch.zeros(1, 3))):
        assert len(set(acquisition.get(name).select(twins, 7, labeled=labeled, seed=0))) == 7
    many = {i for seed in range(40) for i in acquisition.get(name).select(twins, 1, seed=seed)}
    assert len(many) > 5, "equal knees must be chosen by the seed"


@pytest.mark.parametrize("name", [n for n in OURS if acquisition.get(n).batch_aware])
def test_the_order_of_the_labeled_knees_does_not_matter(name: str) -> None:
    pool_, labeled = pool(40), pool(9, seed=5, prefix="known")
    strategy = acquisition.get(name)
    turned = labeled.take(list(reversed(range(9))))
    assert strategy.select(pool_, 6, labeled=labeled, seed=2) == strategy.select(pool_, 6, labeled=turned, seed=2)


@pytest.mark.parametrize("name", [n for n in OURS if acquisition.get(n).needs.features])
def test_features_are_asked_for_and_must_be_finite(name: str) -> None:
    bare = Predictions(pool(5).ids, pool(5).log_probs)
    with pytest.raises(ValueError, match="needs features"):
        acquisition.get(name).select(bare, 2, seed=0)
    damaged = pool(5)
    assert damaged.features is not None
    damaged.features[2, 1] = torch.nan
    with pytest.raises(ValueError, match="finite"):
        acquisition.get(name).select(damaged, 2, seed=0)
