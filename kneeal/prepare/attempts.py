"""Which radiographs of a patient are used: the first that gives a knee, whatever the number of processes and restarts.

A source lists the radiographs of a patient in order. Where the first is damaged or rejected, or shows one knee while
both are needed, the next one is tried. The choice depends on the results alone, never on which process finished first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from kneeal.prepare.tasks import Correction, RadiographTask
from kneeal.prepare.workers import Lost


@dataclass(frozen=True)
class Attempt:
    """A radiograph that was worked on."""

    task: RadiographTask  #: The radiograph.
    key: str  #: Where its result lies in the store.
    sides: tuple[str, ...] = ()  #: Sides of the knees that it gave.
    single: bool = False  #: Whether it is of one knee, so that another may be of the other.
    readable: bool = False  #: Whether there was a picture to look at.
    lost: Lost | None = None  #: Why there is no result, None where there is one.


@dataclass(frozen=True)
class PatientAttempts:
    """The radiographs of one patient."""

    attempts: tuple[Attempt, ...]  #: Those that were worked on, in order.
    #: Positions of those that give the patient's knees; of one that gave none where no other did.
    used: tuple[int, ...]

    def new_sides(self, position: int) -> tuple[str, ...]:
        """The sides that a radiograph gave and none before it."""
        before = {side for k in self.used if k < position for side in self.attempts[k].sides}
        return tuple(side for side in self.attempts[position].sides if side not in before)


def settled(attempts: Sequence[Attempt]) -> bool:
    """Whether no other radiograph of the patient need be tried."""
    task = attempts[-1].task
    wanted = {side for other in (task, *task.alternatives) for side in other.grades}
    found = {side for attempt in attempts for side in attempt.sides}
    # A radiograph of both knees is enough for those asked of it, even where one of them was rejected.
    enough = {side for tried in attempts if tried.sides and not tried.single for side in tried.task.grades}
    return not task.alternatives or wanted <= found | enough


def try_radiographs(
    tasks: Sequence[RadiographTask], attempt: Callable[[Sequence[RadiographTask]], list[Attempt]]
) -> list[PatientAttempts]:
    """Try the radiographs of each task until one gives a knee or none is left.

    A task's corrections apply to the radiograph that the contact sheet showed as used, and never bring in another one.
    `attempt` works on radiographs, or takes what is finished already, and returns attempts in the same order.
    """
    attempts: list[list[Attempt]] = [[] for _ in tasks]
    # With a single radiograph there is no choice to make first, so it need not be read twice.
    current = {k: replace(task, corrections={}) if task.alternatives else task for k, task in enumerate(tasks)}
    while current:
        following: dict[int, RadiographTask] = {}
        for k, done in zip(current, attempt(list(current.values())), strict=True):
            attempts[k].append(done)
            if not settled(attempts[k]):
                first, *rest = done.task.alternatives
                following[k] = replace(first, alternatives=tuple(rest))
        current = following
    tried = [PatientAttempts(tuple(done), _choose(done)) for done in attempts]
    again = {
        (k, used): replace(patient.attempts[used].task, corrections=meant)
        for k, patient in enumerate(tried)
        for used in patient.used
        if (meant := _meant_for(tasks[k].corrections, patient, used)) and not patient.attempts[used].task.corrections
    }
    for (k, used), done in zip(again, attempt(list(again.values())) if again else [], strict=True):
        redone = list(tried[k].attempts)
        redone[used] = done
        tried[k] = replace(tried[k], attempts=tuple(redone))
    return tried


def _choose(attempts: Sequence[Attempt]) -> tuple[int, ...]:
    """Those that gave knees, each side once; else the first that could be looked at, else the first."""
    everyone = PatientAttempts(tuple(attempts), tuple(range(len(attempts))))
    used = tuple(k for k in everyone.used if everyone.new_sides(k))
    return used or (next((k for k, attempt in enumerate(attempts) if attempt.readable), 0),)


def _meant_for(corrections: Mapping[str, Correction], patient: PatientAttempts, used: int) -> Mapping[str, Correction]:
    """The corrections that are meant for a radiograph: of one of several that are used, those of its own knees."""
    if len(patient.used) == 1:
        return corrections
    own = patient.new_sides(used)
    return {side: correction for side, correction in corrections.items() if side in own}
