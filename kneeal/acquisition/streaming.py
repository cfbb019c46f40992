"""Score and select from a pool that is too large to hold: predictions come a chunk at a time and are let go.

What is kept of a knee is its id and one number, so a million knees with 50 posterior samples need about 100 MB beside
the chunk at hand, in place of a gigabyte and more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.strategy import Strategy, top_n
from kneeal.errors import UserError


def chunks(ids: Sequence[str], log_probs: Callable[[int, int], Tensor], *, size: int = 16384) -> Iterator[Predictions]:
    """Predictions of a pool, a chunk at a time.

    Args:
        ids: The N ids.
        log_probs: Gives log probabilities [end - start, K, C] in nats of the knees from start to end, for example
            `lambda start, end: torch.from_numpy(memory_mapped[start:end])`.
        size: Knees of a chunk.

    Raises:
        ValueError: `size` is below 1, or a chunk is no log probabilities of its knees.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 but got {size=}.")
    for start in range(0, len(ids), size):
        end = min(start + size, len(ids))
        yield Predictions(tuple(ids[start:end]), log_probs(start, end))


def score(strategy: Strategy, predictions: Iterable[Predictions]) -> tuple[list[str], Tensor]:
    """How much each knee is wanted, chunk by chunk.

    Args:
        strategy: A strategy whose score of a knee depends on that knee alone, as those of uncertainty do.
        predictions: Chunks of the pool.

    Returns:
        The ids in the order they came, and the scores [N] of `strategy.score`.

    Raises:
        UserError: The strategy selects by more than the score of each knee.
        ValueError: An id comes twice.
    """
    _check_pointwise(strategy)
    ids: list[str] = []
    scores = [torch.zeros(0)]
    for chunk in predictions:
        ids.extend(chunk.ids)
        scores.append(strategy.score(chunk).detach().cpu())
    if len(set(ids)) != len(ids):
        raise ValueError("ids must be distinct over all chunks.")
    return ids, torch.cat(scores)


def select(strategy: Strategy, predictions: Iterable[Predictions], n: int, *, seed: int) -> tuple[str, ...]:
    """The same knees as `strategy.select` on the whole pool, without the whole pool.

    Args:
        strategy: A strategy whose score of a knee depends on that knee alone.
        predictions: Chunks of the pool.
        n: How many, in [0, N].
        seed: Decides among equal scores.

    Returns:
        n distinct ids, the most wanted first.

    Raises:
        UserError: The strategy selects by more than the score of each knee.
        ValueError: n is not in [0, N], an id comes twice, or a score is not finite.
    """
    ids, scores = score(strategy, predictions)
    return tuple(ids[position] for position in top_n(scores, n, seed=seed).tolist())


def takes(strategy: Strategy) -> bool:
    """Whether a strategy chooses from a stream what it would choose from the whole pool."""
    return strategy.pointwise and type(strategy).select is Strategy.select and not strategy.needs_features


def _check_pointwise(strategy: Strategy) -> None:
    if not takes(strategy):
        raise UserError(
            f"the strategy {type(strategy).__name__} on a stream of predictions",
            "a strategy that selects the knees of the highest score, without features",
            "give it the whole pool as one Predictions, or stream a preselection",
        )
