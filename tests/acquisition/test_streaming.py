from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from kneeal import acquisition
from kneeal.acquisition import Posterior, Predictions, Strategy, streaming
from kneeal.errors import UserError

LOG_PROBS = (3 * torch.randn(203, 6, 5, generator=torch.Generator().manual_seed(0))).log_softmax(-1)
COUNTS = torch.arange(5)
IDS = tuple(f"{k}_L" for k in range(203))


def pool(size: int = 20) -> list[Predictions]:
    starts = range(0, len(IDS), size)
    return [Predictions(IDS[a : a + size], LOG_PROBS[a : a + size], label_counts=COUNTS) for a in starts]


@pytest.mark.parametrize(
    "name", [name for name in acquisition.available() if streaming.supports(acquisition.get(name))]
)
@pytest.mark.parametrize("size", [1, 20, 203, 1000])
def test_a_stream_selects_what_the_whole_pool_does(name: str, size: int) -> None:
    strategy, whole = acquisition.get(name), Predictions(IDS, LOG_PROBS, label_counts=COUNTS)
    assert streaming.select(strategy, pool(size), 17, seed=4) == strategy.select(whole, 17, seed=4)


def test_equal_scores_are_drawn_alike() -> None:
    strategy = acquisition.get("random")
    assert streaming.select(strategy, pool(), 9, seed=2) == strategy.select(Predictions(IDS), 9, seed=2)


def test_a_chunk_is_let_go_before_the_next() -> None:
    alive = largest = 0

    class Watch:
        def __init__(self) -> None:
            nonlocal alive, largest
            alive += 1
            largest = max(largest, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def chunks() -> Iterator[Predictions]:
        for a in range(0, len(IDS), 10):
            part = LOG_PROBS[a : a + 10].clone()
            part.watch = Watch()  # type: ignore[attr-defined]
            yield Predictions(IDS[a : a + 10], part)

    streaming.select(acquisition.get("mi_mcd"), chunks(), 5, seed=0)
    assert largest <= 2


def test_an_empty_stream_has_nothing_to_select() -> None:
    assert streaming.select(acquisition.get("mi_mcd"), [], 0, seed=0) == ()
    with pytest.raises(ValueError, match="n must be between"):
        streaming.select(acquisition.get("mi_mcd"), [], 1, seed=0)


def test_an_id_that_comes_again_in_a_later_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="distinct"):
        streaming.select(acquisition.get("mi_mcd"), [*pool(), pool()[0]], 5, seed=0)


class Pairs(Strategy):
    posterior = Posterior.SAMPLES
    source = "a test"

    def score(self, predictions: Predictions) -> Tensor:
        return torch.zeros(len(predictions))

    def select(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None = None, seed: int
    ) -> tuple[str, ...]:
        return predictions.ids[:n]


class Features(Pairs):
    needs_features = True
    select = Strategy.select  # type: ignore[assignment]


class Others(Pairs):
    pointwise = False
    select = Strategy.select  # type: ignore[assignment]


def test_what_takes_a_stream() -> None:
    taken = {name for name in acquisition.available() if streaming.supports(acquisition.get(name))}
    assert {"random", "entropy", "entropy_mcd", "mi_mcd", "least_confidence"} < taken
    # Each of these looks at the pool as a whole, EPIG in its score and the others in their choice.
    assert not {"epig", "batch_bald", "coreset", "badge"} & taken


@pytest.mark.parametrize("kind", [Pairs, Features, Others])
def test_a_strategy_that_looks_at_the_pool_as_a_whole_is_refused(kind: type[Strategy]) -> None:
    with pytest.raises(UserError, match="one Predictions"):
        streaming.select(kind(), pool(), 3, seed=0)
