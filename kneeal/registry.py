"""Objects by name, as a setting such as `loss.method` gives it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from kneeal.errors import UserError, unknown_name

T = TypeVar("T")


@dataclass(eq=False)
class Registry(Generic[T]):
    """Objects registered under a name."""

    kind: str  #: What the objects are, for messages.
    key: str  #: The setting that names one.
    _registered: dict[str, T] = field(default_factory=dict)

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
