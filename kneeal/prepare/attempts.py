"""Which film of a patient is used: the first that gives a knee, whatever the number of processes and restarts.

A source lists the films of a patient in its order. All first films are worked on; where one is damaged or set aside,
its patient's next film is, and so on. Which film that is depends on the results alone, never on who finished first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from kneeal.prepare.corrections import Correction
from kneeal.prepare.film_work import Work
from kneeal.prepare.pool import Lost
from kneeal.prepare.tasks import FilmTask


@dataclass(frozen=True)
class Attempt:
    """A film that was worked on.

    Attributes:
        work: The film.
        key: Where its result lies in the store.
        n_knees: Knees that it gave.
        readable: Whether there was a picture to look at.
        lost: Why there is no result, None where there is one.
    """

    work: Work
    key: str
    n_knees: int = 0
    readable: bool = False
    lost: Lost | None = None

    @property
    def settled(self) -> bool:
        """Whether no other film need be tried."""
        return bool(self.n_knees or not self.work.task.spares)


@dataclass(frozen=True)
class Tried:
    """The films of one patient.

    Attributes:
        attempts: Those that were worked on, in order.
        used: Which of them stands for the patient's knees, whether or not it gave any.
    """

    attempts: tuple[Attempt, ...]
    used: int

    @property
    def chosen(self) -> Attempt:
        """The film that stands for the patient's knees."""
        return self.attempts[self.used]

    @property
    def untried(self) -> tuple[FilmTask, ...]:
        """Films that were not needed."""
        return self.attempts[-1].work.task.spares


def try_films(
    tasks: Sequence[FilmTask],
    corrections: Sequence[Mapping[str, Correction]],
    attempt: Callable[[Sequence[Work]], list[Attempt]],
) -> list[Tried]:
    """Work on films until each task has one that gives a knee, or none left.

    What a person says of a knee holds for the film that the sheet showed as used: of several films, the one that is
    used without corrections, else the first that could be read. It never brings another film in.

    Args:
        tasks: First films, with their spares.
        corrections: What a person says of the knees of each task, by side.
        attempt: Works on films and gives their attempts in the same order; takes what is finished already as it is.
    """
    attempts: list[list[Attempt]] = [[] for _ in tasks]
    # Where there is only one film, nothing is to be chosen, and it need not be read twice.
    current = {
        k: Work(task, {} if task.spares else dict(corrections[k])) for k, task in enumerate(tasks)
    }  # fmt: skip
    while current:
        following: dict[int, Work] = {}
        for k, done in zip(current, attempt(list(current.values())), strict=True):
            attempts[k].append(done)
            if not done.settled:
                first, *rest = done.work.task.spares
                following[k] = Work(replace(first, spares=tuple(rest)))
        current = following
    tried = [Tried(tuple(films), _choose(films)) for films in attempts]
    again = {
        k: Work(tried[k].chosen.work.task, dict(said))
        for k, said in enumerate(corrections)
        if said and not tried[k].chosen.work.corrections
    }
    for k, done in zip(again, attempt(list(again.values())) if again else [], strict=True):
        films, used = list(tried[k].attempts), tried[k].used
        films[used] = done
        tried[k] = Tried(tuple(films), used)
    return tried


def _choose(films: Sequence[Attempt]) -> int:
    """The one that gave a knee, else the first that could be looked at, else the first."""
    last = len(films) - 1
    if films[last].n_knees:
        return last
    return next((k for k, film in enumerate(films) if film.readable), 0)
