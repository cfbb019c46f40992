"""What is to be done: radiographs, the knees that they should give, and what the tables reject already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kneeal.localizer.landmarks import MarkedKnee


@dataclass(frozen=True)
class RadiographTask:
    """One radiograph."""

    path: Path  #: The file.
    name: str  #: How it is called in the archive: its path there, with `/`.
    patient: str  #: Patient id of the tables. Becomes a pseudonym before anything is written, where that is asked for.
    #: Side ("L", "R") to KL grade of the knees that this radiograph should give; None where it is not known. The side
    #: is empty for the one knee of this radiograph, whichever it is.
    grades: Mapping[str, int | None]
    site: str = ""  #: Acquisition site or empty.
    side: str = ""  #: Side of the knee, where the tables say that the radiograph is of one.
    #: Where the knees are, from a landmark or box file; None: the localizer looks.
    marked: tuple[MarkedKnee, ...] | None = None
    #: Other radiographs of the same knees, in the order in which they are tried where this one gives no knee.
    alternatives: tuple[RadiographTask, ...] = ()


@dataclass(frozen=True)
class Rejection:
    """Something rejected."""

    name: str  #: The radiograph in the archive or empty.
    patient: str  #: Patient id.
    side: str  #: "L", "R", or "" for a whole radiograph.
    reason: str  #: A code, one word.
    detail: str  #: A sentence.


@dataclass(frozen=True)
class Plan:
    """What a source found."""

    source: str  #: Name of the source.
    tasks: Sequence[RadiographTask]  #: Radiographs, in the order of the data set, one a patient.
    rejected: Sequence[Rejection] = ()  #: What the tables rejected already.
    notes: Sequence[str] = field(default_factory=list)  #: Decisions that the user should know.
