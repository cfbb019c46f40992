"""Which radiograph of a patient is used: the first that gives a knee, whatever the number of processes and restarts.

A source lists the radiographs of a patient in its order. All first radiographs are worked on; where one is damaged or
rejected, its patient's next radiograph is, and so on. Which radiograph that is depends on the results alone, never on
who finished first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from kneeal.prepare.corrections import Correction
from kneeal.prepare.pool import Lost
from kneeal.prepare.tasks import RadiographTask
from kneeal.prepare.work import Work


@dataclass(frozen=True)
class Attempt:
    """A radiograph that was worked on.

    Attributes:
        work: The radiograph.
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
        """Whether no other radiograph need be tried."""
        return bool(self.n_knees or not self.work.task.alternatives)


@dataclass(frozen=True)
class PatientAttempts:
    """The radiographs of one patient.

    Attributes:
        attempts: Those that were worked on, in order.
        used: Which of them stands for the patient's knees, whether or not it gave any.
    """

    attempts: tuple[Attempt, ...]
    used: int

    @property
    def chosen(self) -> Attempt:
        """The radiograph that stands for the patient's knees."""
        return self.attempts[self.used]

    @property
    def untried(self) -> tuple[RadiographTask, ...]:
        """Radiographs that were not needed."""
        return self.attempts[-1].work.task.alternatives


def try_radiographs(
    tasks: Sequence[RadiographTask],
    corrections: Sequence[Mapping[str, Correction]],
    attempt: Callable[[Sequence[Work]], list[Attempt]],
) -> list[PatientAttempts]:
    """Work on radiographs until each task has one that gives a knee, or none left.

    What a person says of a knee holds for the radiograph that the sheet showed as used: of several radiographs, the
    one that is used without corrections, else the first that could be read. It never brings another radiograph in.

    Args:
        tasks: First radiographs, with their alternatives.
        corrections: What a person says of the knees of each task, by side.
        attempt: Works on radiographs and gives their attempts in the same order; takes what is finished already as it
            is.
    """
    attempts: list[list[Attempt]] = [[] for _ in tasks]
    # Where there is only one radiograph, nothing is to be chosen, and it need not be read twice.
    current = {
        k: Work(task, {} if task.alternatives else dict(corrections[k])) for k, task in enumerate(tasks)
    }  # fmt: skip
    while current:
        following: dict[int, Work] = {}
        for k, done in zip(current, attempt(list(current.values())), strict=True):
            attempts[k].append(done)
            if not done.settled:
                first, *rest = done.work.task.alternatives
                following[k] = Work(replace(first, alternatives=tuple(rest)))
        current = following
    tried = [PatientAttempts(tuple(radiographs), _choose(radiographs)) for radiographs in attempts]
    again = {
        k: Work(tried[k].chosen.work.task, dict(said))
        for k, said in enumerate(corrections)
        if said and not tried[k].chosen.work.corrections
    }
    for k, done in zip(again, attempt(list(again.values())) if again else [], strict=True):
        radiographs, used = list(tried[k].attempts), tried[k].used
        radiographs[used] = done
        tried[k] = PatientAttempts(tuple(radiographs), used)
    return tried


def _choose(radiographs: Sequence[Attempt]) -> int:
    """The one that gave a knee, else the first that could be looked at, else the first."""
    last = len(radiographs) - 1
    if radiographs[last].n_knees:
        return last
    return next((k for k, radiograph in enumerate(radiographs) if radiograph.readable), 0)
