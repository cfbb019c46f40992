"""The contract of a semi-supervised method, and methods by name."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from kneeal.errors import UserError
from kneeal.nn.network import Output


@dataclass(frozen=True)
class Step:
    """One training step as a method sees it.

    Attributes:
        network: In training, whose output the loss is of.
        knees: [n, 2, 2, H, H], two views of the labeled knees and, after them, of the pseudo pool.
        first: The network's output for the first views [n].
        second: For the second views, with other dropout masks.
        kl: Grades of the labeled knees, int64 [n_labeled], the first of the n.
    """

    network: nn.Module
    knees: Tensor
    first: Output
    second: Output
    kl: Tensor


class Method(nn.Module, ABC):
    """A loss on knees without using their grades, beside the cross-entropy on labeled ones.

    Attributes:
        source: Where it comes from.
    """

    source: str

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """The loss of one step, a scalar of 0 or more."""

    def started(self, network: nn.Module) -> None:
        """Called once, before the first step of a fit."""

    def stepped(self, network: nn.Module) -> None:
        """Called after each step of the optimizer."""


_registered: dict[str, type[Method]] = {}
_M = TypeVar("_M", bound=type[Method])


def register(name: str) -> Callable[[_M], _M]:
    """Make a method known under a name.

    Raises:
        UserError: The name is taken.
    """

    def add(method: _M) -> _M:
        if name in _registered:
            raise UserError(f"two methods called {name!r}", "one method a name", "register one under another name")
        _registered[name] = method
        return method

    return add


def available() -> Sequence[str]:
    """Every name, sorted."""
    return sorted(_registered)


def get(name: str, **options: Any) -> Method:
    """A method by name.

    Raises:
        UserError: No method has the name, or an option is wrong.
    """
    if name not in _registered:
        near = difflib.get_close_matches(name, _registered, 1)
        raise UserError(
            f"no semi-supervised method called {name!r}",
            f"consistency (equation (1)), or one of: {', '.join(available())}",
            f"did you mean {near[0]!r}?" if near else "correct loss.method",
        )
    try:
        return _registered[name](**options)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"loss.options {options} for {name}: {error}", "options that the method has", "correct loss.options"
        ) from error
