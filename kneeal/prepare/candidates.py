"""From the films and grades that a source found to what is to be done: the same rules for every source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kneeal.prepare.places import inside, there
from kneeal.prepare.tasks import FilmTask, Refusal


def find_films(root: Path, named: Mapping[str, Sequence[str]]) -> tuple[dict[str, list[str]], list[Refusal]]:
    """The films that are there, by patient in the order given, each once; and what was set aside.

    Args:
        root: Folder that the names are below.
        named: Names of films by patient, the one to use first.
    """
    films: dict[str, list[str]] = {}
    refused: list[Refusal] = []
    for patient, names in named.items():
        for name in dict.fromkeys(names):
            path = inside(root, name)
            if path is None:
                refused.append(Refusal(name, patient, "", "outside", "the table names a path outside the folder"))
            elif not there(path):
                refused.append(Refusal(name, patient, "", "missing", "the file is not there"))
            elif (plain := path.relative_to(root).as_posix()) not in films.setdefault(patient, []):
                films[patient].append(plain)
    return films, refused


def film_tasks(
    root: Path,
    films: Mapping[str, Sequence[str]],
    grades: Mapping[str, Mapping[str, int | None]],
    sites: Mapping[str, str],
    *,
    ungraded: bool,
) -> tuple[list[FilmTask], list[Refusal]]:
    """One task a patient, sorted by patient: the first film, the others as its spares; and what was set aside.

    Args:
        root: Folder that the names are below.
        films: Names by patient, none of them empty; see `find_films`.
        grades: Grades by patient and side.
        sites: Sites by patient.
        ungraded: Whether knees without a grade are kept.
    """
    tasks: list[FilmTask] = []
    refused: list[Refusal] = []
    for patient, names in sorted(films.items()):
        known = grades.get(patient, {})
        wanted = {side: known.get(side) for side in "RL" if ungraded or known.get(side) is not None}
        refused += [
            Refusal(names[0], patient, side, "no_grade", "the tables hold no grade from 0 to 4 of this knee")
            for side in "RL"
            if side not in wanted
        ]
        if wanted:
            site = sites.get(patient, "")
            first, *others = [FilmTask(root / name, name, patient, wanted, site) for name in names]
            tasks.append(FilmTask(first.path, first.name, patient, wanted, site, spares=tuple(others)))
    return tasks, refused
