"""Core-set: knees that leave no knee of the pool far from a labeled one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kneeal.acquisition.batch import BatchStrategy, features_of
from kneeal.acquisition.geometry import nearest, squared_distances
from kneeal.acquisition.predictions import Posterior, Predictions
from kneeal.acquisition.registry import register


@register("coreset")
class CoreSet(BatchStrategy):
    """Each time the knee that is farthest from all labeled and chosen ones: k-center greedy."""

    posterior = Posterior.NONE
    needs_features = True
    source = "Sener and Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018"

    def score(self, predictions: Predictions) -> Tensor:
        """Zeros [N]: a set of knees is wanted, not one knee."""
        return torch.zeros(len(predictions))

    def choose(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None, generator: torch.Generator
    ) -> Sequence[int]:
        """Greedily; without labeled knees the first is any."""
        features = features_of(predictions)
        if labeled is None:
            chosen = [0]
            distance = squared_distances(features, features[:1])[:, 0]
        else:
            chosen = []
            distance = nearest(features, features_of(labeled))[0]
        distance[chosen] = -1.0
        while len(chosen) < n:
            chosen.append(int(distance.argmax()))
            distance = torch.minimum(distance, squared_distances(features, features[chosen[-1:]])[:, 0])
            distance[chosen] = -1.0
        return chosen
