"""Semi-supervised methods that can stand in the place of the second term of equation (1), one file each.

A file of this folder makes its method known by being there.
"""

import pkgutil
from importlib import import_module

from kneeal.nn.ssl.method import Method, Step, available, get, register

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Method", "Step", "available", "get", "register"]
