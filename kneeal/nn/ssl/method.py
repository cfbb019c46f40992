"""The contract of a semi-supervised method, and the registry of methods."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from kneeal.errors import UserError
from kneeal.nn.network import Output
from kneeal.registry import Registry


@dataclass(frozen=True)
class Step:
    """One training step as a method sees it."""

    network: nn.Module  #: In training mode; the loss is a function of its output.
    knees: Tensor  #: [n, 2, 2, H, H], two views of the labeled knees followed by those of the pseudo pool.
    first: Output  #: The network's output for the first views [n].
    second: Output  #: For the second views, with other dropout masks.
    kl: Tensor  #: Grades of the labeled knees, int64 [n_labeled], the first of the n.


class Method(nn.Module, ABC):
    """A loss that needs no grades, added to the cross-entropy on labeled knees.

    Options are keyword arguments of the constructor, which raises a ValueError for a wrong value.

    Attributes:
        source: The publication it comes from.
        compares_features: Whether it rests on the features alone, whatever the head makes of them.
        compares_views: Whether it needs two different views of a knee.
    """

    source: str
    compares_features = False
    compares_views = True

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """The loss of one step, a scalar of 0 or more."""

    def started(self, network: nn.Module) -> None:
        """Called once, before the first step of a fit."""

    def stepped(self, network: nn.Module) -> None:
        """Called after each step of the optimizer."""


_methods: Registry[type[Method]] = Registry("semi-supervised method", "loss.method")
register = _methods.register
available = _methods.names


def options(name: str) -> Collection[str]:
    """The options that a method takes.

    Raises:
        UserError: No method has the name.
    """
    return inspect.signature(_methods[name]).parameters.keys()


def get(name: str, **given: Any) -> Method:
    """A method by name.

    Raises:
        UserError: No method has the name, or an option is wrong.
    """
    known = options(name)
    try:
        return _methods[name](**given)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"loss.options {given} for {name}: {error}",
            f"options of the method: {', '.join(known) or 'it has none'}",
            "correct loss.options",
        ) from error


def ramp_up(epoch: int, length: int) -> float:
    """Weight factor in (0, 1] that rises as exp(-5 (1 - t)^2) over the first `length` epochs (Laine and Aila, 2017).

    Args:
        epoch: The current epoch, from 0.
        length: Epochs until the factor is 1; 0 means that it is 1 from the start.
    """
    return 1.0 if epoch >= length else math.exp(-5.0 * (1.0 - epoch / length) ** 2)
