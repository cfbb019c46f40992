"""Queries, their schedule, and the answers to them: where they come from, and which are accepted."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kneeal.acquisition.strategy import seeded_order
from kneeal.errors import UserError, count, some

#: From the ids of the pool, a number of knees and a seed to the knees of the first query.
FirstQuery = Callable[[Sequence[str], int, int], Sequence[str]]


def random_first_query(ids: Sequence[str], n: int, seed: int) -> Sequence[str]:
    """A random choice of n knees of the pool."""
    return tuple(ids[k] for k in seeded_order(ids, seed)[:n])


@dataclass(frozen=True)
class Query:
    """What is asked of the oracle."""

    round: int  #: The round that asks.
    ids: tuple[str, ...]  #: The knees asked for, the most informative first.
    pseudo: tuple[str, ...] = ()  #: The next pseudo pool U, chosen together with the query.
    #: Score of each knee asked for; empty for the first query, which no network made.
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class QueryRecord:
    """A query with its answers."""

    round: int  #: The round that asked; -1 for the first query, before anything was trained.
    ids: tuple[str, ...]  #: The knees, the most informative first.
    scores: tuple[float, ...]  #: Score of each; NaN if unscored.
    grades: tuple[int | None, ...]  #: Answered grade of each; None where there is no answer.


@dataclass(frozen=True)
class Schedule:
    """How many labels to ask for, and when to stop."""

    n_init: int = 50  #: Labels of the first query.
    n_query: int = 50  #: Labels of every other query, n_b.
    budget: int = 800  #: Labels at the end, N. The last query is smaller where it has to be.

    def check(self, n_pool: int) -> None:
        """Refuse a schedule that a pool of `n_pool` knees cannot serve."""
        for name, n in vars(self).items():
            if n < 1:
                raise UserError(f"{name} = {n}", "a number of knees of at least 1", f"set active.{name}=1 or more")
            if n > n_pool:
                raise UserError(
                    f"{name} = {n} for a pool of {n_pool} knees",
                    f"{name} of at most the number of training knees",
                    f"give --set active.{name}={n_pool} or less, or prepare more knees",
                )
        if self.budget < self.n_init:
            raise UserError(
                f"a budget of {self.budget} labels with a first query of {self.n_init}",
                "a budget of at least n_init",
                "raise active.budget or lower active.n_init",
            )

    @property
    def n_rounds(self) -> int:
        """Number of fits: one on the first labels and one after every further query."""
        return 1 + math.ceil((self.budget - self.n_init) / self.n_query)

    def next_query(self, n_labeled: int) -> int:
        """How many knees to ask for now; 0 once the budget is spent."""
        return self.n_init if n_labeled == 0 else max(0, min(self.n_query, self.budget - n_labeled))


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
                f"no grade for {count(len(unknown), 'queried knee')}: {some(unknown)}",
                "a KL grade in the manifest for every training knee, since the simulated oracle answers from it",
                "fill the column kl and run `kneeal prepare checksum`, or let a person grade them (`kneeal ask`)",
            )
        return {i: self._grades[i] for i in ids}


def check_answers(
    answers: Mapping[str, int | None],
    query: Query,
    earlier: Mapping[str, int | None],
    n_grades: int,
    *,
    replace: bool = False,
) -> None:
    """Refuse answers that cannot be accepted; `earlier` ones to the same query may be corrected with `replace`.

    Raises:
        UserError: A knee was not asked for, a grade is invalid, or an earlier answer differs.
    """
    asked = set(query.ids)
    unknown = [i for i in answers if i not in asked]
    if unknown:
        raise UserError(
            f"answers for knees that were not asked for: {some(map(repr, unknown))}",
            f"answers for the {len(asked)} knees of the pending query",
            "remove those rows, or restore their knee ids as the sheet of the query has them",
        )
    for i, kl in answers.items():
        whole = isinstance(kl, int | float) and not isinstance(kl, bool) and kl == kl // 1
        if kl is not None and not (whole and 0 <= kl < n_grades):
            raise UserError(
                f"grade {kl!r} for knee {i!r}", f"a whole grade from 0 to {n_grades - 1}", "correct that answer"
            )
        if earlier.get(i, kl) != kl and not replace:
            raise UserError(
                f"{_describe(kl)} for knee {i!r}, which was {_describe(earlier[i], 'graded')} before",
                "one answer per knee",
                "keep the first answer; where the correction is meant, say so (`kneeal tell --replace`)",
            )


def _describe(kl: int | None, verb: str = "grade") -> str:
    return "unreadable" if kl is None else f"{verb} {kl}"
