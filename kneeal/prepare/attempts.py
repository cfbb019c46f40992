"""Which radiographs of a patient are used: the first that gives a knee, whatever the number of processes and restarts.

A source lists the radiographs of a patient in its order. All first radiographs are worked on; where one is damaged or
rejected, or is of one knee while the other is wanted too, its patient's next one is, and so on. Which one that is
depends on the results alone, never on who finished first.
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
        sides: Sides of the knees that it gave.
        single: Whether it is of one knee, so that another may be of the other.
        readable: Whether there was a picture to look at.
        lost: Why there is no result, None where there is one.
    """

    work: Work
    key: str
    sides: tuple[str, ...] = ()
    single: bool = False
    readable: bool = False
    lost: Lost | None = None


@dataclass(frozen=True)
class PatientAttempts:
    """The radiographs of one patient.

    Attributes:
        attempts: Those that were worked on, in order.
        used: Which of them stand for the patient's knees; one that gave none where none of them did.
    """

    attempts: tuple[Attempt, ...]
    used: tuple[int, ...]

    @property
    def task(self) -> RadiographTask:
        """The first radiograph."""
        return self.attempts[0].work.task

    @property
    def found(self) -> bool:
        """Whether any of them gave a knee."""
        return any(attempt.sides for attempt in self.attempts)

    @property
    def untried(self) -> tuple[RadiographTask, ...]:
        """Radiographs that were not needed."""
        return self.attempts[-1].work.task.alternatives

    def new_sides(self, position: int) -> tuple[str, ...]:
        """The sides that a radiograph gave and none before it."""
        before = {side for k in self.used if k < position for side in self.attempts[k].sides}
        return tuple(side for side in self.attempts[position].sides if side not in before)


def settled(attempts: Sequence[Attempt]) -> bool:
    """Whether no other radiograph of the patient need be tried."""
    last = attempts[-1]
    if not last.work.task.alternatives:
        return True
    wanted = set(last.work.task.grades)
    given = {side for attempt in attempts for side in attempt.sides}
    # A radiograph of both knees stands for both, even where one of them was rejected; one without a side for itself.
    return bool(last.sides) and (not last.single or wanted <= given)


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
            if not settled(attempts[k]):
                first, *rest = done.work.task.alternatives
                following[k] = Work(replace(first, alternatives=tuple(rest)))
        current = following
    tried = [PatientAttempts(tuple(done), _choose(done)) for done in attempts]
    again = {
        (k, used): Work(patient.attempts[used].work.task, _said(corrections[k], patient, used))
        for k, patient in enumerate(tried)
        for used in patient.used
        if _said(corrections[k], patient, used) and not patient.attempts[used].work.corrections
    }
    for (k, used), done in zip(again, attempt(list(again.values())) if again else [], strict=True):
        redone = list(tried[k].attempts)
        redone[used] = done
        tried[k] = replace(tried[k], attempts=tuple(redone))
    return tried


def _choose(attempts: Sequence[Attempt]) -> tuple[int, ...]:
    """Those that gave knees, each side once; else the first that could be looked at, else the first."""
    everyone = PatientAttempts(tuple(attempts), tuple(k for k, attempt in enumerate(attempts) if attempt.sides))
    used = tuple(k for k in everyone.used if everyone.new_sides(k))
    return used or (next((k for k, attempt in enumerate(attempts) if attempt.readable), 0),)


def _said(corrections: Mapping[str, Correction], patient: PatientAttempts, used: int) -> dict[str, Correction]:
    """The corrections that are meant for a radiograph: of one of several that are used, those of its own knees."""
    if len(patient.used) == 1:
        return dict(corrections)
    own = patient.new_sides(used)
    return {side: correction for side, correction in corrections.items() if side in own}
