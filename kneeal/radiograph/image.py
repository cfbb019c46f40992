"""A radiograph as the rest of the package needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Radiograph:
    """A radiograph as the rest of the package needs it.

    Attributes:
        gray: uint8 [H, W], bone bright, 0 and 255 at the 5th and 99th percentile of the radiograph; uint16, with 0
            and 65535 there, where `ReadOptions` ask for 16 bits.
        mm_per_px: Height and width of a pixel in the plane of the knee.
        patient_id: The header's, empty for pictures. To look up the patient, never to be written out.
        burned_in: Whether the header says that text is burned into the pixels.
        laterality: "R", "L" or "B" (both) as the header says it, else empty.
        flipped: Whether the header says that the patient's right is on the right of the picture, or the feet on top.
        lateral: Whether the header says that it is a lateral view.
        notes: What was done otherwise than the header asks.
    """

    gray: NDArray[Any]
    mm_per_px: tuple[float, float]
    patient_id: str = ""
    burned_in: bool = False
    laterality: str = ""
    flipped: bool = False
    lateral: bool = False
    notes: tuple[str, ...] = ()
