"""Acquisition: which samples to label next. Needs only torch and the standard library.

>>> import torch
>>> from kneeal import acquisition
>>> log_probs = torch.randn(1000, 50, 5).log_softmax(-1)  # [N, K, C]
>>> predictions = acquisition.Predictions(tuple(map(str, range(1000))), log_probs)
>>> query = acquisition.get("mi_mcd").select(predictions, 50, seed=0)
>>> len(query)
50
"""

import pkgutil
from importlib import import_module

from kneeal.acquisition import measures
from kneeal.acquisition.predictions import Needs, Posterior, Predictions
from kneeal.acquisition.registry import StrategyInfo, available, describe, describe_all, get, register
from kneeal.acquisition.strategy import SamplingStrategy, Strategy, top_n

# Importing a module registers its strategies, so a new one needs no entry anywhere. All modules depend on torch alone,
# and importing them takes milliseconds.
for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Needs",
    "Posterior",
    "Predictions",
    "SamplingStrategy",
    "Strategy",
    "StrategyInfo",
    "available",
    "describe",
    "describe_all",
    "get",
    "measures",
    "register",
    "top_n",
]
