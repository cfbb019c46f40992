"""What the localizer says about a radiograph. Standard library only: to judge it needs no networks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LocalizedKnee:
    """What the networks say about one place on the radiograph."""

    center_mm: tuple[float, float]  #: Center of the tibial plateau, (x, y) mm from the radiograph's upper left corner.
    angle_deg: float  #: Angle of the plateau; positive where it descends to the right of the radiograph.
    #: 0 to 1: the probability of a natural knee, lowered by the disagreement of three looks at it (as it lies, turned
    #: level, turned level and mirrored).
    score: float
    replaced: float  #: Probability of a knee replacement; 1 where metal is seen.
    nothing: float  #: Probability that there is no knee.


@dataclass(frozen=True)
class LocalizedMarker:
    """A side marker."""

    letter: str  #: "R", "L", or "mirrored".
    center_mm: tuple[float, float]  #: Where it is.
    probability: float  #: That of the letter.


@dataclass(frozen=True)
class Localization:
    """What is on a radiograph: knees and side markers, from left to right."""

    knees: tuple[LocalizedKnee, ...]
    markers: tuple[LocalizedMarker, ...]
