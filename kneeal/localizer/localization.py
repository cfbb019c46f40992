"""What the localizer says about a radiograph. Standard library only: to judge it needs no networks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LocalizedKnee:
    """What the networks say about one place on the radiograph.

    Attributes:
        center_mm: Center of the tibial plateau, (x, y) mm from the radiograph's upper left corner.
        angle_deg: Angle of the plateau; positive where it descends to the right of the radiograph.
        score: 0 to 1: the probability of a natural knee, lowered by the disagreement of three looks at it (as it
            lies, turned level, turned level and mirrored).
        replaced: Probability of a knee replacement.
        nothing: Probability that there is no knee.
    """

    center_mm: tuple[float, float]
    angle_deg: float
    score: float
    replaced: float
    nothing: float


@dataclass(frozen=True)
class LocalizedMarker:
    """A side marker.

    Attributes:
        letter: "R", "L", or "mirrored".
        center_mm: Where it is.
        probability: That of the letter.
    """

    letter: str
    center_mm: tuple[float, float]
    probability: float


@dataclass(frozen=True)
class Localization:
    """What is on a radiograph: knees and side markers, from left to right."""

    knees: tuple[LocalizedKnee, ...]
    markers: tuple[LocalizedMarker, ...]
