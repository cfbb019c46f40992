"""Approximate posteriors: runners that draw samples [N, K, C], one file per family.

A posterior is registered by its file being in this folder.
"""

import pkgutil
from importlib import import_module

from kneeal.training.posteriors.base import Ingredients, available, get, register

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Ingredients", "available", "get", "register"]
