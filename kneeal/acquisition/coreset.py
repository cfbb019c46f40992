"""Core-set: no knee of the pool is left far from a labeled one."""

from collections.abc import Sequence

import torch
from torch import Generator

from kneeal.acquisition.batch import CoverageStrategy
from kneeal.acquisition.geometry import nearest, squared_distances, vectors
from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.registry import register


@register("coreset")
class CoreSet(CoverageStrategy):
    """Repeatedly the knee farthest from all labeled and chosen knees: k-center greedy."""

    source = "Sener and Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018"

    def choose(self, pool: Predictions, n: int, labeled: Predictions | None, generator: Generator) -> Sequence[int]:
        """Greedily; without labeled knees, the first is random."""
        features, known = vectors(pool, labeled, normalize=False)
        if labeled is None:
            chosen = [0]
            distance = squared_distances(features, features[:1])[:, 0]
        else:
            chosen = []
            distance = nearest(features, known)[0]
        distance[chosen] = -1.0
        while len(chosen) < n:
            chosen.append(int(distance.argmax()))
            distance = torch.minimum(distance, squared_distances(features, features[chosen[-1:]])[:, 0])
            distance[chosen] = -1.0
        return chosen
