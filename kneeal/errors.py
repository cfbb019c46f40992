"""The one exception for mistakes that a user can correct, and how messages name several things."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(ValueError):
    """A user's mistake: the command line prints it without a traceback and exits with status 2.

    Args:
        found: What was found, with the offending value.
        expected: What would have been right.
        cure: What to do about it.
    """

    def __init__(self, found: str, expected: str, cure: str) -> None:
        # `args` stay as the class was called: pickle recreates the error of a worker process from them.
        self.found = found
        self.expected = expected
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.found}\n  expected: {self.expected}\n  cure: {self.cure}"

    def within(self, where: str) -> UserError:
        """The same error, with where it was found in front."""
        return UserError(f"{where}: {self.found}", self.expected, self.cure)


def unknown_name(kind: str, name: str, known: Iterable[str], cure: str) -> UserError:
    """The error for a name that nothing has: the nearest known one is suggested, else a cure."""
    known = list(known)
    near = difflib.get_close_matches(name, known, 1)
    cure = f"did you mean {near[0]!r}?" if near else cure
    return UserError(f"no {kind} called {name!r}", f"one of: {some(known, 40) or 'none'}", cure)


def reason_of(error: BaseException) -> str:
    """What an error says, on one line of at most 300 characters; its type where it says nothing."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def some(names: Iterable[str], max_names: int = 5) -> str:
    """The first names and how many more there are, for a message."""
    names = list(names)
    return ", ".join(names[:max_names]) + (f" and {len(names) - max_names} more" if len(names) > max_names else "")


def count(n: int, what: str) -> str:
    """A number with its noun: "1 knee", "2 knees"."""
    return f"{n:,} {what}{'s' * (n != 1)}"


@contextmanager
def readable(path: Path, expected: str, cure: str, *others: type[Exception]) -> Iterator[None]:
    """Turn what a damaged file raises while the block reads it, `others` too, into a message to the user."""
    damage: tuple[type[Exception], ...] = (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, *others)
    try:
        yield
    except UserError:
        raise
    except damage as error:
        raise UserError(f"{path} cannot be read ({reason_of(error)})", expected, cure) from error


@contextmanager
def extra(name: str, purpose: str) -> Iterator[None]:
    """Import packages that an extra of this one installs; a missing one is reported with its cure."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "kneeal":
            raise  # a fault of this package, which no installation mends
        raise UserError(
            f"{error.name or error} is not installed, which is needed for {purpose}",
            f"the packages of the extra {name}",
            f"install them, in the checkout: pip install '.[{name}]'",
        ) from error
