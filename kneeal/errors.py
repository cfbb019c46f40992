"""The one exception for what a user can put right."""

from __future__ import annotations


class UserError(ValueError):
    """A user's mistake: the command line prints it without a traceback and exits with status 2.

    Args:
        found: What was found, with the offending value.
        expected: What would have been right.
        cure: What to do about it.
    """

    def __init__(self, found: str, expected: str, cure: str) -> None:
        super().__init__(f"{found}\n  expected: {expected}\n  cure: {cure}")
        self.found = found
        self.expected = expected
        self.cure = cure

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str]]:
        """Pickle by parts, so that the error survives the way back from a worker process."""
        return type(self), (self.found, self.expected, self.cure)
