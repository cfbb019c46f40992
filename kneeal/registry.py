"""Things by name: what a setting such as `loss.method` may be."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from kneeal.errors import UserError

T = TypeVar("T")


class Registry(Generic[T]):
    """Things that register themselves under a name.

    Args:
        kind: What they are, for messages.
        key: The setting that names one.
    """

    def __init__(self, kind: str, key: str) -> None:
        self.kind = kind
        self.key = key
        self._things: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers a thing.

        Raises:
            UserError: The name is taken.
        """

        def add(thing: T) -> T:
            if name in self._things:
                raise UserError(f"two {self.kind}s called {name!r}", "one per name", "register one under another name")
            self._things[name] = thing
            return thing

        return add

    def names(self) -> Sequence[str]:
        """Every name, sorted."""
        return sorted(self._things)

    def __getitem__(self, name: str) -> T:
        """The thing with a name.

        Raises:
            UserError: There is none; the nearest name is suggested.
        """
        if name not in self._things:
            near = difflib.get_close_matches(name, self._things, 1)
            raise UserError(
                f"no {self.kind} called {name!r}",
                f"one of: {', '.join(self.names())}",
                f"did you mean {near[0]!r}?" if near else f"correct {self.key}",
            )
        return self._things[name]
