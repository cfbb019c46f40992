"""What is to be done: films, the knees wanted from them, and what was set aside before any film was opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kneeal.localizer.landmarks import MarkedKnee


@dataclass(frozen=True)
class FilmTask:
    """One film.

    Attributes:
        path: The file.
        name: How it is called in the archive: its path there, with `/`.
        patient: Patient id of the tables. Becomes a pseudonym before anything is written, where that is asked for.
        grades: Side ("L", "R") to KL grade of the knees wanted from this film; None where it is not known.
        site: Acquisition site, empty where there is none.
        marked: Where the knees are, from a landmark or box file; None: the finder looks.
        spares: Other films of the same knees, in the order in which they are tried where this one gives no knee.
    """

    path: Path
    name: str
    patient: str
    grades: Mapping[str, int | None]
    site: str = ""
    marked: tuple[MarkedKnee, ...] | None = None
    spares: tuple[FilmTask, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """Something set aside.

    Attributes:
        name: The film in the archive, empty where there is none.
        patient: Patient id.
        side: "L", "R", or "" for a whole film.
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
        tasks: Films, in the order of the data set, one a patient.
        refused: What the tables set aside already.
        notes: Decisions that the user should know.
    """

    source: str
    tasks: Sequence[FilmTask]
    refused: Sequence[Refusal] = ()
    notes: Sequence[str] = field(default_factory=list)
