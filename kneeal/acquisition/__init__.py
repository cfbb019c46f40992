"""Acquisition: which samples to ask labels for. Needs torch and the standard library, nothing else of this package.

>>> import torch
>>> from kneeal import acquisition
>>> log_probs = torch.randn(1000, 50, 5).log_softmax(-1)  # [N, K, C]
>>> predictions = acquisition.Predictions(tuple(map(str, range(1000))), log_probs)
>>> query = acquisition.get("mi_mcd").select(predictions, 50, seed=0)
>>> len(query)
50
"""

from kneeal.acquisition import measures, paper
from kneeal.acquisition.predictions import Posterior, Predictions
from kneeal.acquisition.registry import (
    StrategyInfo,
    UnknownStrategyError,
    available,
    describe,
    describe_all,
    get,
    register,
)
from kneeal.acquisition.strategy import Strategy, top_n

__all__ = [
    "Posterior",
    "Predictions",
    "Strategy",
    "StrategyInfo",
    "UnknownStrategyError",
    "available",
    "describe",
    "describe_all",
    "get",
    "measures",
    "paper",
    "register",
    "top_n",
]
