"""Objects by name, as a setting such as `loss.method` gives it."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from kneeal.errors import UserError, unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Objects registered under a name.

    Args:
        kind: What the objects are, for messages.
        key: The setting that names one.
    """

    def __init__(self, kind: str, key: str) -> None:
        self.kind = kind
        self.key = key
        self._registered: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers an object.

        Raises:
            UserError: The name is taken.
        """

        def add(item: T) -> T:
            if name in self._registered:
                raise UserError(f"two {self.kind}s called {name!r}", "one per name", "register one under another name")
            self._registered[name] = item
            return item

        return add

    def names(self) -> Sequence[str]:
        """Every name, sorted."""
        return sorted(self._registered)

    def __getitem__(self, name: str) -> T:
        """The object with a name.

        Raises:
            UserError: The name is unknown; the message suggests the nearest.
        """
        if name not in self._registered:
            raise unknown_name(self.kind, name, self.names(), f"correct {self.key}")
        return self._registered[name]
