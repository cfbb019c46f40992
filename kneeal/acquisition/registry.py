"""Strategies by name: registered by a decorator, by an entry point of another package, or given as file.py:Class."""

import difflib
import functools
import importlib.util
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

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
    needs_label_counts: bool
    batch_aware: bool
    source: str
    summary: str
    options: Mapping[str, Any]

    @property
    def needs(self) -> str:
        """Its needs, in words."""
        needs = [self.posterior.value] if self.posterior is not Posterior.NONE else []
        needs += ["features"] * self.needs_features + ["label counts"] * self.needs_label_counts
        return ", ".join(needs) or "nothing"

    @property
    def kind(self) -> str:
        """The heading under which it is listed."""
        if self.needs_label_counts:
            return "Balance: looks for the grades with few labels"
        if self.posterior is Posterior.NONE:
            return "Coverage: represents the pool by its features" if self.needs_features else "Baseline"
        return "Batch: knees chosen jointly" if self.batch_aware else "Uncertainty: the highest scores"


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
        name: As registered, or the path of a Python file and a class in it: "my_strategies.py:Mine".
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
        made = strategy(**options)
    except UserError as error:
        raise error.within(f"the strategy {name}") from error
    except (TypeError, ValueError) as error:
        raise UserError(
            f"options {options} for the strategy {name}: {error}", "values that it accepts", "correct the options"
        ) from error
    except Exception as error:
        error.add_note(f"raised by the strategy {name}")
        raise
    made.name = name
    return made


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
        strategy.needs_label_counts,
        strategy.batch_aware,
        strategy.source,
        summary,
        _options(strategy),
    )


def _find(name: str) -> type[Strategy]:
    path, _, attribute = name.rpartition(":")
    if path.endswith(".py"):
        return _from_file(Path(path), attribute)
    if name.endswith(".py"):
        raise UserError(f"{name} without a class", "a file and a class in it", f"write for example {name}:Mine")
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
    """Cached, since the lookup reads a file of every installed package."""
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
    if not _is_strategy(strategy):
        raise UserError(
            f"{point.value} of the package {owner}, which is not a strategy",
            "a subclass of kneeal.acquisition.Strategy",
            f"repair or uninstall {owner}",
        )
    return strategy


@functools.cache
def _from_file(path: Path, attribute: str) -> type[Strategy]:
    if not path.is_file():
        raise UserError(
            f"no file {path} for a strategy, seen from {Path.cwd()}",
            "the path of a Python file and a class in it, for example my_strategies.py:Mine",
            "correct the path or change the directory",
        )
    name = f"kneeal_strategy_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:  # pragma: no cover - a .py file has a loader
        raise RuntimeError(f"no loader for {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look the module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == path.absolute()]
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        if isinstance(error, UserError):
            raise error.within(where) from error
        raise UserError(
            f"{where}: {type(error).__name__}: {error}", "a Python file that can be imported", f"correct {path}"
        ) from error
    strategy = getattr(module, attribute, None)
    if not _is_strategy(strategy):
        own = [key for key, value in vars(module).items() if _is_strategy(value) and value.__module__ == name]
        raise UserError(
            f"no strategy {attribute!r} in {path}",
            f"one of: {', '.join(own)}" if own else "a file with a subclass of kneeal.acquisition.Strategy",
            "correct the name after the colon" if own else "write the class, see docs/strategies.md",
        )
    missing = sorted(strategy.__abstractmethods__)
    if not isinstance(getattr(strategy, "posterior", None), Posterior):
        missing.append("posterior")
    if missing:
        raise UserError(
            f"the strategy {attribute} in {path} lacks {' and '.join(missing)}",
            "score(self, predictions), and posterior = Posterior.NONE, POINT or SAMPLES",
            "add what is missing, see docs/strategies.md",
        )
    return strategy


def _is_strategy(value: object) -> TypeGuard[type[Strategy]]:
    return isinstance(value, type) and issubclass(value, Strategy)


def describe_all() -> Iterator[StrategyInfo]:
    """All strategies, with a warning for each that cannot be loaded."""
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
