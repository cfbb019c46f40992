"""Objects by name, as a setting such as `loss.method` gives it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from kneeal.errors import UserError, unknown_name

T = TypeVar("T")


class Registry(dict[str, T]):
    """Objects by name.

    Args:
        kind: What the objects are, for messages.
        key: The setting that names one.

    Raises:
        UserError: A name that is looked up is unknown; the message suggests the nearest.
    """

    def __init__(self, kind: str, key: str) -> None:
        super().__init__()
        self._kind, self._key = kind, key

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers an object.

        Raises:
            UserError: The name is taken.
        """

        def add(item: T) -> T:
            if name in self:
                raise UserError(f"two {self._kind}s called {name!r}", "one per name", "register one under another name")
            self[name] = item
            return item

        return add

    def names(self) -> Sequence[str]:
        """Every name, sorted."""
        return sorted(self)

    def __missing__(self, name: str) -> T:
        raise unknown_name(self._kind, name, self.names(), f"correct {self._key}")
