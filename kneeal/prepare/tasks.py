"""What is to be done: radiographs, the knees that they should give, and what the tables reject already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kneeal.localizer.landmarks import MarkedKnee


@dataclass(frozen=True)
class RadiographTask:
    """One radiograph.

    Attributes:
        path: The file.
        name: How it is called in the archive: its path there, with `/`.
        patient: Patient id of the tables. Becomes a pseudonym before anything is written, where that is asked for.
        grades: Side ("L", "R") to KL grade of the knees that this radiograph should give; None where it is not known.
            The side is empty for the one knee of this radiograph, whichever it is.
        site: Acquisition site or empty.
        side: Side of the knee, where the tables say that the radiograph is of one.
        marked: Where the knees are, from a landmark or box file; None: the localizer looks.
        alternatives: Other radiographs of the same knees, in the order in which they are tried where this one gives
            no knee.
    """

    path: Path
    name: str
    patient: str
    grades: Mapping[str, int | None]
    site: str = ""
    side: str = ""
    marked: tuple[MarkedKnee, ...] | None = None
    alternatives: tuple[RadiographTask, ...] = ()


@dataclass(frozen=True)
class Rejection:
    """Something rejected.

    Attributes:
        name: The radiograph in the archive or empty.
        patient: Patient id.
        side: "L", "R", or "" for a whole radiograph.
        reason: A code, one word.
        detail: A sentence.
    """

    name: str
    patient: str
    side: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Plan:
    """What a source found.

    Attributes:
        source: Name of the source.
        tasks: Radiographs, in the order of the data set, one a patient.
        rejected: What the tables rejected already.
        notes: Decisions that the user should know.
    """

    source: str
    tasks: Sequence[RadiographTask]
    rejected: Sequence[Rejection] = ()
    notes: Sequence[str] = field(default_factory=list)
