"""From the radiographs and grades that a source found to what is to be done: the same rules for every source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kneeal.prepare.paths import is_file, path_inside
from kneeal.prepare.tasks import RadiographTask, Rejection


def find_radiographs(root: Path, named: Mapping[str, Sequence[str]]) -> tuple[dict[str, list[str]], list[Rejection]]:
    """The radiographs that are there, by patient in the order given, each once; and what was rejected.

    Args:
        root: Folder that the names are below.
        named: Names of radiographs by patient, the one to use first.
    """
    radiographs: dict[str, list[str]] = {}
    rejected: list[Rejection] = []
    for patient, names in named.items():
        for name in dict.fromkeys(names):
            path = path_inside(root, name)
            if path is None:
                rejected.append(Rejection(name, patient, "", "outside", "the table names a path outside the folder"))
            elif not is_file(path):
                rejected.append(Rejection(name, patient, "", "missing", "the file is not there"))
            elif (plain := path.relative_to(root).as_posix()) not in radiographs.setdefault(patient, []):
                radiographs[patient].append(plain)
    return radiographs, rejected


def radiograph_tasks(
    root: Path,
    radiographs: Mapping[str, Sequence[str]],
    grades: Mapping[str, Mapping[str, int | None]],
    sites: Mapping[str, str],
    *,
    ungraded: bool,
) -> tuple[list[RadiographTask], list[Rejection]]:
    """One task per patient, sorted by patient, the first radiograph with the others as alternatives; and rejections.

    Args:
        root: Folder that the names are below.
        radiographs: Names by patient, none of them empty; see `find_radiographs`.
        grades: Grades by patient and side.
        sites: Sites by patient.
        ungraded: Whether knees without a grade are kept.
    """
    tasks: list[RadiographTask] = []
    rejected: list[Rejection] = []
    for patient, names in sorted(radiographs.items()):
        known = grades.get(patient, {})
        wanted = {side: known.get(side) for side in "RL" if ungraded or known.get(side) is not None}
        rejected += [
            Rejection(names[0], patient, side, "no_grade", "the tables hold no grade from 0 to 4 of this knee")
            for side in "RL"
            if side not in wanted
        ]
        if wanted:
            site = sites.get(patient, "")
            first, *others = [RadiographTask(root / name, name, patient, wanted, site) for name in names]
            tasks.append(RadiographTask(first.path, first.name, patient, wanted, site, alternatives=tuple(others)))
    return tasks, rejected
