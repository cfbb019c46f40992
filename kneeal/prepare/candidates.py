"""From the radiographs and grades that a source found to what is to be done: the same rules for every source."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kneeal.prepare.tasks import RadiographTask, Rejection


def radiograph_tasks(
    root: Path,
    radiographs: Mapping[str, Sequence[str]],
    grades: Mapping[str, Mapping[str, int | None]],
    sites: Mapping[str, str],
    *,
    ungraded: bool,
    sides: Mapping[str, str] | None = None,
    own: Mapping[str, int | None] | None = None,
) -> tuple[list[RadiographTask], list[Rejection]]:
    """One task per patient, sorted by patient, the first radiograph with the others as alternatives; and rejections.

    The side of a grade is empty for the one knee of a radiograph, whichever it is; `own` has such grades, and `sides`
    the side of the one knee, by the name of the radiograph.
    """
    own = own or {}
    tasks: list[RadiographTask] = []
    rejected: list[Rejection] = []
    for patient, names in sorted(radiographs.items()):
        known = grades.get(patient, {})
        shared = [name for name in names if name not in own]
        # Beside a radiograph with a grade of its own, only the knees that the table names are missed.
        asked = [""] if "" in known else ["R", "L"] if len(shared) == len(names) else sorted(known) if shared else []
        wanted = {side: known.get(side) for side in asked if ungraded or known.get(side) is not None}
        ungradable = [(name, "") for name in names if name in own and own[name] is None and not ungraded]
        rejected += [
            Rejection(name, patient, side, "no_grade", "the tables hold no grade from 0 to 4 of this knee")
            for name, side in [*((shared[0], side) for side in asked if side not in wanted), *ungradable]
        ]
        tasks_of_patient = []
        for name in names:
            asked_here = wanted
            if name in own:
                asked_here = {"": own[name]} if ungraded or own[name] is not None else {}
            if asked_here:
                side = (sides or {}).get(name, "")
                tasks_of_patient.append(
                    RadiographTask(root / name, name, patient, asked_here, sites.get(patient, ""), side)
                )
        if tasks_of_patient:
            first, *others = tasks_of_patient
            tasks.append(replace(first, alternatives=tuple(others)))
    return tasks, rejected
