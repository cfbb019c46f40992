"""Semi-supervised methods: the second term of the loss, one file per method.

A method is registered by its file being in this folder.
"""

import pkgutil
from importlib import import_module

from kneeal.nn.ssl.method import Method, Step, available, get, options, ramp_up, register

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Method", "Step", "available", "get", "options", "ramp_up", "register"]
