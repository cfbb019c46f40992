"""A radiograph as the rest of the package needs it."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Radiograph:
    """A radiograph as the rest of the package needs it."""

    #: uint8 [H, W], bone bright, 0 and 255 at the 5th and 99th percentile of the radiograph; uint16, with 0 and 65535
    #: there, where `ReadOptions` ask for 16 bits.
    gray: NDArray[Any]
    mm_per_px: tuple[float, float]  #: Height and width of a pixel in the plane of the knee.
    patient_id: str = ""  #: The header's, empty for pictures. To look up the patient, never to be written out.
    burned_in: bool = False  #: Whether the header says that text is burned into the pixels.
    laterality: str = ""  #: "R", "L" or "B" (both) as the header says it, else empty.
    #: Whether the header says that the patient's right is on the right of the picture, or the feet on top.
    flipped: bool = False
    lateral: bool = False  #: Whether the header says that it is a lateral view.
    notes: tuple[str, ...] = ()  #: What was done otherwise than the header asks.
