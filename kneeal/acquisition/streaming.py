"""Select from a pool that does not fit into memory: its predictions come in chunks, which are then released.

Only the id and score of each knee are kept, so a million knees with 50 posterior samples take about 100 MB beyond the
current chunk instead of a gigabyte or more.
"""

from collections.abc import Iterable

import torch

from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.strategy import Strategy, top_n
from kneeal.errors import UserError


def select(strategy: Strategy, chunks: Iterable[Predictions], n: int, *, seed: int) -> tuple[str, ...]:
    """The same query as `strategy.select` on the whole pool.

    Args:
        strategy: A strategy that `supports` accepts, such as the uncertainty measures.
        chunks: Predictions for the knees of the pool, in any number of parts.
        n: Size of the query, in [0, N].
        seed: Decides between equal scores.

    Returns:
        n distinct ids, best first.

    Raises:
        UserError: The strategy needs to see the whole pool at once.
        ValueError: n is not in [0, N], an id is repeated, or a score is not finite.
    """
    if not supports(strategy):
        raise UserError(
            f"the strategy {strategy} on a stream of predictions",
            "a strategy that selects the highest scores, without features",
            "pass the whole pool as one Predictions",
        )
    ids: list[str] = []
    scores = [torch.zeros(0)]
    for chunk in chunks:
        ids.extend(chunk.ids)
        scores.append(strategy.score(chunk).detach().cpu())
    if len(set(ids)) != len(ids):
        raise ValueError("ids must be distinct over all chunks.")
    return top_n(ids, torch.cat(scores), n, seed=seed)


def supports(strategy: Strategy) -> bool:
    """Whether a strategy selects the same query from a stream as from the whole pool."""
    return strategy.pointwise and type(strategy).select is Strategy.select and not strategy.needs.features
