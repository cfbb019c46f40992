"""Score and select from a pool that does not fit into memory: predictions come in chunks, which are then released.

Only the id and score of each knee are kept, so a million knees with 50 posterior samples take about 100 MB beyond the
current chunk instead of a gigabyte or more.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.strategy import Strategy, top_n
from kneeal.errors import UserError


def chunks(
    ids: Sequence[str],
    log_probs: Callable[[int, int], Tensor],
    *,
    label_counts: Tensor | None = None,
    size: int = 16384,
) -> Iterator[Predictions]:
    """Predictions of a pool, in chunks.

    Args:
        ids: The N ids.
        log_probs: Returns log probabilities [end - start, K, C] in nats of the knees from start to end, for example
            `lambda start, end: torch.from_numpy(memory_mapped[start:end])`.
        label_counts: [C] number of labeled knees of each grade, if the strategy needs it.
        size: Knees per chunk.

    Raises:
        ValueError: `size` is below 1, or a chunk does not hold log probabilities of its knees.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 but got {size=}.")
    for start in range(0, len(ids), size):
        end = min(start + size, len(ids))
        yield Predictions(tuple(ids[start:end]), log_probs(start, end), label_counts=label_counts)


def score(strategy: Strategy, predictions: Iterable[Predictions]) -> tuple[list[str], Tensor]:
    """The score of each knee, chunk by chunk.

    Args:
        strategy: A pointwise strategy, such as the uncertainty measures.
        predictions: Chunks of the pool.

    Returns:
        The ids in the order of the stream, and their scores [N].

    Raises:
        UserError: The strategy needs to see the whole pool at once.
        ValueError: An id is repeated.
    """
    if not supports(strategy):
        raise UserError(
            f"the strategy {strategy} on a stream of predictions",
            "a strategy that selects the highest scores, without features",
            "pass the whole pool as one Predictions",
        )
    ids: list[str] = []
    scores = [torch.zeros(0)]
    for chunk in predictions:
        ids.extend(chunk.ids)
        scores.append(strategy.score(chunk).detach().cpu())
    if len(set(ids)) != len(ids):
        raise ValueError("ids must be distinct over all chunks.")
    return ids, torch.cat(scores)


def select(strategy: Strategy, predictions: Iterable[Predictions], n: int, *, seed: int) -> tuple[str, ...]:
    """The same query as `strategy.select` on the whole pool, from chunks of it.

    Args:
        strategy: A pointwise strategy.
        predictions: Chunks of the pool.
        n: Size of the query, in [0, N].
        seed: Decides between equal scores.

    Returns:
        n distinct ids, best first.

    Raises:
        UserError: The strategy needs to see the whole pool at once.
        ValueError: n is not in [0, N], an id is repeated, or a score is not finite.
    """
    ids, scores = score(strategy, predictions)
    return top_n(ids, scores, n, seed=seed)


def supports(strategy: Strategy) -> bool:
    """Whether a strategy selects the same query from a stream as from the whole pool."""
    return strategy.pointwise and type(strategy).select is Strategy.select and not strategy.needs.features
