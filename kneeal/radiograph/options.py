"""How radiographs are read."""

import math
from dataclasses import dataclass

from kneeal.errors import UserError

#: Pixel sizes of radiographs in mm; what lies outside is an error of the header.
SMALLEST_MM, LARGEST_MM = 0.02, 2.0
#: Larger pictures are rejected before they are decoded.
MAX_PIXELS = 60_000_000


@dataclass(frozen=True)
class ReadOptions:
    """How radiographs are read."""

    mm_per_px: float | None = None  #: Pixel size where the file has none (pictures always), in mm.
    magnification: float | None = None  #: Size on the detector over true size, instead of what the header says.
    apply_voi: bool = True  #: Whether the VOI LUT or window of a DICOM file is applied.
    max_pixels: int = MAX_PIXELS  #: Larger pictures are rejected before they are decoded.
    max_bytes: int = 500_000_000  #: Larger files are rejected before they are opened.
    bits: int = 8  #: Of the gray: 8, as the model sees it, or 16 for a reader's window and contrast.

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: One of them is out of range.
        """
        if self.mm_per_px is not None and not SMALLEST_MM <= self.mm_per_px <= LARGEST_MM:
            raise UserError(
                f"--mm-per-px {self.mm_per_px}", f"{SMALLEST_MM} to {LARGEST_MM} mm", "measure it; often 0.1 to 0.2"
            )
        if self.magnification is not None and not (math.isfinite(self.magnification) and self.magnification >= 1):
            raise UserError(f"--magnification {self.magnification}", "1 or more", "1.05 is common for a knee")
