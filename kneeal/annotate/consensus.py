"""Which answer goes to training. Stated once, here; the documentation quotes it."""

from collections.abc import Sequence
from dataclasses import dataclass

#: The rule in words, shown on the page and in the table of readings.
RULE = (
    "A knee goes to training when all its readings are in and say the same, or when an adjudicator has decided. "
    "Readings that differ, between readers or between two readings by one, are neither averaged nor "
    "outvoted. A knee that is unreadable by the same rule leaves the pool without a grade."
)


#: A reader and her grade, None for a knee that she could not grade.
Reading = tuple[int, int | None]


@dataclass(frozen=True)
class Consensus:
    """What the readings of a knee amount to."""

    state: str  #: "open" (readings are missing), "disagreed" (an adjudicator is needed) or "settled".
    kl: int | None = None  #: The grade of a settled knee; None is unreadable.
    rule: str | None = None  #: "single", "agreed" or "adjudicated" for a settled knee.


def reach_consensus(
    readings: Sequence[Reading], *, required: int, pending: bool, adjudicated: Sequence[Reading] = ()
) -> Consensus:
    """Apply the rule to the readings that are in, silent repeats among them; each knee needs `required` readers."""
    readers = {reader for reader, _ in readings}
    # Also of an adjudicated knee: its readers can take a reading back, and must not learn from a refusal that they
    # differed. The decision stands when the reading is in again.
    if len(readers) < required or pending:
        return Consensus("open")
    if adjudicated:
        return Consensus("settled", adjudicated[-1][1], "adjudicated")
    if len({kl for _, kl in readings}) > 1:
        return Consensus("disagreed")
    return Consensus("settled", readings[0][1], "single" if len(readers) == 1 else "agreed")
