from __future__ import annotations

import torch
from helpers.pools import pool

from kneeal import acquisition
from kneeal.acquisition import Needs, Posterior, Predictions, Strategy
from kneeal.acquisition.mixed import Mixed
from kneeal.acquisition.testing import StrategyContract

KNEES = pool(40)


class TestMixed(StrategyContract):
    def make(self) -> Strategy:
        return Mixed(acquisition.get("batch_bald"), acquisition.get("coreset"), share=0.4)


def test_a_mix_divides_the_query_and_both_see_what_they_need() -> None:
    mixed = Mixed(acquisition.get("entropy"), acquisition.get("bald"), share=0.25)
    assert mixed.needs == Needs(Posterior.SAMPLES, 50)
    chosen = mixed.select(KNEES, 8, seed=0)
    mean = Predictions(KNEES.ids, KNEES.require_log_probs().exp().mean(1, keepdim=True).log())
    assert chosen[:6] == acquisition.get("entropy").select(mean, 6, seed=0)
    rest = [i for i in acquisition.get("bald").select(KNEES, 40, seed=0) if i not in chosen[:6]]
    assert list(chosen[6:]) == rest[:2]
    torch.testing.assert_close(mixed.score(KNEES), acquisition.get("entropy").score(mean))
