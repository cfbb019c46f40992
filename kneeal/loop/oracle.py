"""Where the answers to a query come from."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from kneeal.errors import UserError


class Oracle(Protocol):
    """Grades knees: a table of known grades, a file, a person."""

    def label(self, ids: Sequence[str]) -> dict[str, int]:
        """The KL grade of each knee asked for."""


class SimulatedOracle:
    """Answers from grades that are known already and that nothing else can see, by knee id."""

    def __init__(self, grades: Mapping[str, int]) -> None:
        self._grades = dict(grades)

    def label(self, ids: Sequence[str]) -> dict[str, int]:
        """The grades of `ids`, in that order.

        Raises:
            UserError: The grade of a knee is not known.
        """
        unknown = [i for i in ids if i not in self._grades]
        if unknown:
            raise UserError(
                f"no grade for {len(unknown)} queried knee{'s' * (len(unknown) != 1)} ({', '.join(unknown[:5])})",
                "a KL grade in the manifest for every training knee, since the simulated oracle answers from it",
                "fill the column kl, or leave those knees out of the manifest",
            )
        return {i: self._grades[i] for i in ids}
