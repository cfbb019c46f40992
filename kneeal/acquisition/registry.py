"""Strategies by name: registered by a decorator here, and by an entry point in other packages."""

from __future__ import annotations

import difflib
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from kneeal.acquisition.predictions import Posterior
from kneeal.acquisition.strategy import Strategy
from kneeal.errors import UserError

#: Entry-point group in which other packages register strategies.
GROUP = "kneeal.strategies"

_registered: dict[str, type[Strategy]] = {}
_S = TypeVar("_S", bound=type[Strategy])


class UnknownStrategyError(UserError):
    """No strategy has this name."""


@dataclass(frozen=True)
class StrategyInfo:
    """What `kneeal strategies` shows of a strategy."""

    name: str
    posterior: Posterior
    needs_features: bool
    batch_aware: bool
    source: str
    summary: str
    options: Mapping[str, Any]


def register(name: str) -> Callable[[_S], _S]:
    """Register a strategy under a name.

    Raises:
        UserError: The name is taken.
    """

    def add(strategy: _S) -> _S:
        taken = _registered.get(name)
        if taken is not None:
            raise UserError(
                f"two strategies called {name!r}: {taken.__module__}.{taken.__qualname__} and "
                f"{strategy.__module__}.{strategy.__qualname__}",
                "one strategy per name",
                "register one of them under another name",
            )
        _registered[name] = strategy
        return strategy

    return add


def available() -> tuple[str, ...]:
    """The names of all strategies, of this package and of other installed ones, sorted."""
    return tuple(sorted({*_registered, *(point.name for point in _plugins())}))


def get(name: str, **options: Any) -> Strategy:
    """A strategy by name.

    Args:
        name: As registered.
        options: Keyword arguments of its constructor.

    Raises:
        UnknownStrategyError: No strategy has this name; the closest name is suggested.
        UserError: An option is unknown or invalid.
    """
    strategy = _find(name)
    accepted = _options(strategy)
    unknown = [option for option in options if option not in accepted]
    if unknown:
        known = ", ".join(f"{key}={value!r}" for key, value in accepted.items()) or "no options"
        raise UserError(
            f"option {', '.join(unknown)} for the strategy {name}", f"only: {known}", "remove or correct the option"
        )
    try:
        return strategy(**options)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(
            f"options {options} for the strategy {name}: {error}", "values that it accepts", "correct the options"
        ) from error


def describe(name: str) -> StrategyInfo:
    """What `kneeal strategies` shows of a strategy.

    Raises:
        UnknownStrategyError: No strategy has this name.
    """
    strategy = _find(name)
    summary = (inspect.getdoc(strategy) or "").strip().split("\n\n")[0].replace("\n", " ")
    return StrategyInfo(
        name,
        strategy.posterior,
        strategy.needs_features,
        strategy.batch_aware,
        strategy.source,
        summary,
        _options(strategy),
    )


def _find(name: str) -> type[Strategy]:
    points = [point for point in _plugins() if point.name == name]
    if name in _registered:
        if points and _load(points[0]) is not _registered[name]:
            raise UserError(
                f"two strategies called {name!r}: kneeal's and {points[0].value}",
                "one strategy per name",
                "uninstall that package, or have it rename its entry point",
            )
        return _registered[name]
    if len({point.value for point in points}) > 1:
        raise UserError(
            f"two strategies called {name!r}: {' and '.join(point.value for point in points)}",
            "one strategy per name",
            "uninstall one of the packages",
        )
    if points:
        return _load(points[0])
    names = available()
    near = difflib.get_close_matches(name, names, 1)
    raise UnknownStrategyError(
        f"no strategy called {name!r}",
        f"one of: {', '.join(names)}",
        f"did you mean {near[0]!r}?" if near else "see `kneeal strategies`",
    )


@functools.cache
def _plugins() -> tuple[EntryPoint, ...]:
    """Looked up once per process: it reads a file of every installed package."""
    return tuple(entry_points(group=GROUP))


def _load(point: EntryPoint) -> type[Strategy]:
    owner = point.dist.name if point.dist else point.value
    try:
        strategy = point.load()
    except Exception as error:
        raise UserError(
            f"the strategy {point.name!r} of the package {owner} cannot be loaded ({error!r})",
            f"an importable {point.value}",
            f"repair or uninstall {owner}",
        ) from error
    if not (isinstance(strategy, type) and issubclass(strategy, Strategy)):
        raise UserError(
            f"{point.value} of the package {owner}, which is not a strategy",
            "a subclass of kneeal.acquisition.Strategy",
            f"repair or uninstall {owner}",
        )
    return strategy


def describe_all() -> Iterator[StrategyInfo]:
    """All strategies; one that cannot be loaded causes a warning, not an error."""
    for name in available():
        try:
            yield describe(name)
        except UserError as error:
            warnings.warn(str(error), stacklevel=2)


def _options(strategy: type[Strategy]) -> dict[str, Any]:
    parameters = inspect.signature(strategy).parameters.values()
    return {
        p.name: None if p.default is p.empty else p.default
        for p in parameters
        if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
    }
