"""Strategies by name: registered by a decorator, by an entry point of another package, or given as file.py:Class."""

import functools
import importlib.util
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from kneeal.acquisition.predictions import Posterior
from kneeal.acquisition.strategy import Strategy, named_errors
from kneeal.errors import UserError, unknown_name

#: Entry-point group in which other packages register strategies.
GROUP = "kneeal.strategies"

#: Strategies that were registered in this process, by name.
registered: dict[str, type[Strategy]] = {}
_S = TypeVar("_S", bound=type[Strategy])


@dataclass(frozen=True)
class StrategyInfo:
    """What `kneeal strategies` shows of a strategy."""

    name: str  #: The name under which it is asked for.
    strategy: type[Strategy]  #: Its class.

    @property
    def summary(self) -> str:
        """The first paragraph of its docstring."""
        return (inspect.getdoc(self.strategy) or "").strip().split("\n\n")[0].replace("\n", " ")

    @property
    def options(self) -> Mapping[str, Any]:
        """The keyword arguments of its constructor with their defaults."""
        return {
            p.name: None if p.default is p.empty else p.default
            for p in inspect.signature(self.strategy).parameters.values()
            if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
        }

    @property
    def needs(self) -> str:
        """Its needs, in words."""
        own = self.strategy
        needs = [own.posterior.value] if own.posterior is not Posterior.NONE else []
        needs += ["features"] * own.needs_features + ["label counts"] * own.needs_label_counts
        return ", ".join(needs) or "nothing"

    @property
    def kind(self) -> str:
        """The heading under which it is listed."""
        own = self.strategy
        if own.needs_label_counts:
            return "Balance: looks for the grades with few labels"
        if own.posterior is Posterior.NONE:
            return "Coverage: represents the pool by its features" if own.needs_features else "Baseline"
        return "Batch: knees chosen jointly" if own.batch_aware else "Uncertainty: the highest scores"


def register(name: str) -> Callable[[_S], _S]:
    """Register a strategy under a name.

    Raises:
        UserError: The name is taken.
    """

    def add(strategy: _S) -> _S:
        registered[name] = _only(name, [registered.get(name, strategy), strategy])
        return strategy

    return add


def available() -> tuple[str, ...]:
    """The names of all strategies, of this package and of other installed ones, sorted."""
    return tuple(sorted({*registered, *(point.name for point in _plugins())}))


def get(name: str, **options: Any) -> Strategy:
    """A strategy by name.

    Args:
        name: As registered, or the path of a Python file and a class in it: "my_strategies.py:Mine".
        options: Keyword arguments of its constructor.

    Raises:
        UserError: No strategy has this name, and the closest is suggested; or an option is unknown or invalid.
    """
    strategy = _find(name)
    accepted = StrategyInfo(name, strategy).options
    unknown = [option for option in options if option not in accepted]
    if unknown:
        known = ", ".join(f"{key}={value!r}" for key, value in accepted.items()) or "no options"
        raise UserError(f"unknown option {', '.join(unknown)} for the strategy {name}", f"only: {known}", "correct it")
    with named_errors(name):
        try:
            made = strategy(**options)
        except UserError:
            raise
        except (TypeError, ValueError) as error:
            raise UserError(f"options {options}: {error}", "values that it accepts", "correct the options") from error
    made.name = name
    return made


def describe(name: str) -> StrategyInfo:
    """What `kneeal strategies` shows of a strategy.

    Raises:
        UserError: No strategy has this name.
    """
    return StrategyInfo(name, _find(name))


def describe_all() -> Iterator[StrategyInfo]:
    """All strategies, with a warning for each that cannot be loaded."""
    for name in available():
        try:
            yield describe(name)
        except UserError as error:
            warnings.warn(str(error), stacklevel=2)


def _find(name: str) -> type[Strategy]:
    path, _, attribute = name.rpartition(":")
    if path.endswith(".py"):
        return _from_file(Path(path), attribute)
    if name.endswith(".py"):
        raise UserError(f"{name} without a class", "a file and a class in it", f"write for example {name}:Mine")
    found = [_load(point) for point in _plugins() if point.name == name]
    found += [registered[name]] if name in registered else []
    if not found:
        raise unknown_name("strategy", name, available(), "see `kneeal strategies`")
    return _only(name, found)


def _only(name: str, strategies: Sequence[type[Strategy]]) -> type[Strategy]:
    """The strategy of a name, which several packages may have registered."""
    if len(set(strategies)) > 1:
        raise UserError(
            f"two strategies called {name!r}: {' and '.join(f'{s.__module__}.{s.__qualname__}' for s in strategies)}",
            "one strategy per name",
            "register one of them under another name, or uninstall its package",
        )
    return strategies[0]


@functools.cache
def _plugins() -> tuple[EntryPoint, ...]:
    """Cached, since the lookup reads a file of every installed package."""
    return tuple(entry_points(group=GROUP))


def _load(point: EntryPoint) -> type[Strategy]:
    owner = point.dist.name if point.dist else point.value
    try:
        strategy = point.load()
        if not _is_strategy(strategy):
            raise TypeError(f"{strategy!r} is not a strategy")
    except Exception as error:  # whatever the other package raises as it is imported
        raise UserError(
            f"the strategy {point.name!r} of the package {owner} cannot be loaded ({error!r})",
            f"{point.value}, a subclass of kneeal.acquisition.Strategy",
            f"repair or uninstall {owner}",
        ) from error
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
    except (Exception, SystemExit) as error:  # whatever the user's file does as it is run
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
