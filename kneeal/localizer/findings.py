"""What the finder says about a film. Standard library only: whoever judges findings needs no networks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FoundKnee:
    """What the networks say about one place on the film.

    Attributes:
        middle_mm: Middle of the tibial plateau, (x, y) mm from the film's upper left corner.
        angle_deg: Angle of the plateau; positive where it descends to the right of the film.
        score: 0 to 1: the probability of a natural knee, lowered by the disagreement of three looks at it (as it
            lies, turned level, turned level and mirrored).
        replaced: Probability of a knee replacement.
        nothing: Probability that there is no knee.
    """

    middle_mm: tuple[float, float]
    angle_deg: float
    score: float
    replaced: float
    nothing: float


@dataclass(frozen=True)
class FoundMarker:
    """A side marker.

    Attributes:
        letter: "R", "L", or "mirrored".
        middle_mm: Where it is.
        probability: That of the letter.
    """

    letter: str
    middle_mm: tuple[float, float]
    probability: float


@dataclass(frozen=True)
class Findings:
    """What is on a film: knees and side markers, from left to right."""

    knees: tuple[FoundKnee, ...]
    markers: tuple[FoundMarker, ...]
