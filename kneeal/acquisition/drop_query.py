"""DropQuery: knees whose grade changes under dropout, spread over the features."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from kneeal.acquisition import measures
from kneeal.acquisition.batch import BatchStrategy
from kneeal.acquisition.geometry import central_rows, vectors
from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.registry import register
from kneeal.acquisition.strategy import SamplingStrategy


@register("drop_query")
class DropQuery(SamplingStrategy, BatchStrategy):
    """Of the knees whose grade changes in more than half of the samples, those nearest to the centers of n clusters.

    In the source, a sample drops part of the features before a linear classifier, and its grade is compared with that
    of the full features. Here samples come from whatever posterior is configured, and are compared with their mean.
    If fewer than n knees change their grade that often, the knees that change it most often fill the query.

    Args:
        n_samples: Number of posterior samples K, at least 2; 3 in the source.
    """

    needs_features = True
    source = (
        "Gupte et al., Revisiting Active Learning in the Era of Vision Foundation Models, TMLR 2024, arXiv:2401.14555"
    )

    def score(self, predictions: Predictions) -> Tensor:
        """Share of the samples whose most probable grade is not that of their mean, [N] in [0, 1)."""
        log_probs = predictions.require_samples()
        grade = measures.mean_log_probs(log_probs).argmax(dim=1, keepdim=True)
        return (log_probs.argmax(dim=2) != grade).float().mean(dim=1)

    def choose(self, pool: Predictions, n: int, labeled: Predictions | None, generator: Generator) -> Sequence[int]:
        """The central knee of each cluster of candidates, largest cluster first."""
        changes = self.score(pool).cpu()
        order = torch.argsort(changes, descending=True, stable=True)
        candidates = order[: max(n, int((changes > 0.5).sum()))]
        x = vectors(pool, None, normalize=False)[0][candidates]
        return candidates[central_rows(x, n, generator)].tolist()
