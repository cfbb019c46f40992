from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from kneeal.acquisition import get
from kneeal.adapters.baal import baal_heuristic
from kneeal.adapters.shapes import predictions_of
from kneeal.errors import UserError

heuristics = pytest.importorskip("baal.active.heuristics", reason="baal is not installed")
active = pytest.importorskip("baal.active", reason="baal is not installed")
dataset = pytest.importorskip("baal.active.dataset", reason="baal is not installed")

N, C, K = 60, 4, 6


def probabilities(seed: int = 0, n: int = N) -> np.ndarray[Any, Any]:
    logits = torch.randn(n, C, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * logits).softmax(dim=1).numpy()


class Numbers(torch.utils.data.Dataset[tuple[int, int]]):
    def __len__(self) -> int:
        return N

    def __getitem__(self, k: int) -> tuple[int, int]:
        return k, k % C


@pytest.mark.parametrize(("ours", "theirs"), [("mi_mcd", heuristics.BALD()), ("entropy", heuristics.Entropy())])
def test_ranks_are_those_of_baals_own_heuristic(ours: str, theirs: Any) -> None:
    probs = probabilities()
    ranks, scores = baal_heuristic(get(ours), query_size=7).get_ranks(probs)
    expected, their_scores = theirs.get_ranks(probs)
    np.testing.assert_allclose(scores, their_scores, atol=1e-6)
    assert ranks[:7].tolist() == list(expected[:7])
    assert sorted(ranks.tolist()) == list(range(N))


def test_logits_and_parts_are_taken() -> None:
    probs = probabilities()
    whole = baal_heuristic(get("entropy_mcd"), query_size=5)
    expected = whole.get_ranks(probs)[0]
    assert whole.get_ranks(np.log(probs) + 3.0)[0].tolist() == expected.tolist()
    assert whole.get_ranks(part for part in np.split(probs, 4))[0].tolist() == expected.tolist()
    assert whole(probs).tolist() == expected.tolist()


@pytest.mark.parametrize("name", ["badge", "bait", "coreset", "class_balanced", "uncertainty_herding"])
def test_baals_loop_labels_the_query_of_our_strategy(name: str) -> None:
    pool = dataset.ActiveLearningDataset(Numbers())
    pool.label(list(range(10)))
    probs = probabilities()
    features = torch.randn(N, 3, generator=torch.Generator().manual_seed(1))

    def rows(chosen: bool) -> torch.Tensor:
        return features[torch.as_tensor(np.asarray(pool.labelled, dtype=bool)) == chosen]

    heuristic = baal_heuristic(
        get(name),
        query_size=5,
        features=lambda: rows(False),
        labeled_features=lambda: rows(True),
        labeled_predictions=lambda: probs[np.flatnonzero(pool.labelled)],
        labels=lambda: [pool._dataset[int(k)][1] for k in np.flatnonzero(pool.labelled)],
    )
    unlabeled = np.flatnonzero(~np.asarray(pool.labelled, dtype=bool))
    loop = active.ActiveLearningLoop(
        pool, lambda part: probs[[part[k][0] for k in range(len(part))]], heuristic=heuristic, query_size=5
    )
    expected = heuristic.get_ranks(probs[unlabeled])[0][:5]
    assert loop.step()
    assert len(pool) == 15
    assert set(np.flatnonzero(pool.labelled)) == {*range(10), *unlabeled[expected].tolist()}
    assert loop.step() and len(pool) == 20


def test_a_batch_is_chosen_together() -> None:
    probs = np.repeat(probabilities(n=12), 5, axis=0)  # five copies of each
    ranks = baal_heuristic(get("batch_bald"), query_size=4, seed=3).get_ranks(probs)[0]
    assert len({r // 5 for r in ranks[:4].tolist()}) > 1
    pool = predictions_of(get("batch_bald"), len(probs), probs.swapaxes(1, 2), None)
    from kneeal.seeds import derive_seed

    chosen = get("batch_bald").select(pool, 4, seed=derive_seed(3, "query", 60))
    assert ranks[:4].tolist() == [int(i) for i in chosen]


def test_what_bait_needs_of_the_labeled_samples_is_said() -> None:
    heuristic = baal_heuristic(
        get("bait"), query_size=5, features=lambda: np.ones((N, 3)), labeled_features=lambda: np.ones((2, 3))
    )
    with pytest.raises(UserError, match="bait without probabilities of the labeled samples"):
        heuristic.get_ranks(probabilities())
