"""A radiograph as the rest of the package needs it, how one is read, and why one cannot be used."""

import math
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

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
        """Refuse a value that is out of range."""
        if self.mm_per_px is not None and not SMALLEST_MM <= self.mm_per_px <= LARGEST_MM:
            raise UserError(
                f"--mm-per-px {self.mm_per_px}", f"{SMALLEST_MM} to {LARGEST_MM} mm", "measure it; often 0.1 to 0.2"
            )
        if self.magnification is not None and not (math.isfinite(self.magnification) and self.magnification >= 1):
            raise UserError(f"--magnification {self.magnification}", "1 or more", "1.05 is common for a knee")


@dataclass(frozen=True)
class Radiograph:
    """A radiograph as the rest of the package needs it."""

    #: uint8 [H, W], bone bright, 0 and 255 at the 5th and 99th percentile of the radiograph; uint16, with 0 and 65535
    #: there, where `ReadOptions` ask for 16 bits.
    gray: NDArray[Any]
    mm_per_px: tuple[float, float]  #: Height and width of a pixel in the plane of the knee.
    burned_in: bool = False  #: Whether the header says that text is burned into the pixels.
    sides: Set[str] = frozenset()  #: "R", "L" or "B" (both) as the header says it; several where it contradicts itself.
    #: Whether the header says that the patient's right is on the right of the picture, or the feet on top.
    flipped: bool = False
    lateral: bool = False  #: Whether the header says that it is a lateral view.
    notes: tuple[str, ...] = ()  #: What was done otherwise than the header asks.


class RadiographError(UserError):
    """A radiograph that cannot be read, with a word for tables as the `reason`.

    No message holds a value of the header's text tags: messages end up in files that leave the hospital.
    """

    def __init__(self, reason: str, found: str, expected: str, cure: str = "remove the file") -> None:
        super().__init__(found, expected, cure)
        self.reason = reason


def read_start(path: Path) -> tuple[bytes, int]:
    """The first 132 bytes of a file, at whose end DICOM has its mark, and the size of the whole.

    What is no regular file is refused: reading a pipe may never end.
    """
    try:
        if path.is_file() or not path.exists():
            with path.open("rb") as file:
                return file.read(132), path.stat().st_size
    except (OSError, ValueError) as error:
        raise unreadable(f"the file cannot be opened: {getattr(error, 'strerror', None) or 'bad name'}") from None
    raise unreadable("a pipe, a device or a link to a folder")


def check_size(rows: int, columns: int, max_pixels: int) -> None:
    """Refuse a picture that is beyond the limit, before anything of it is decoded."""
    if rows * columns > max_pixels:
        found, expected = f"the header says {columns} x {rows} px", f"at most {max_pixels / 1e6:g} million px"
        raise RadiographError("too_large", found, expected, "remove the file, or scale it down")


@contextmanager
def decoder_errors(what: str) -> Iterator[None]:
    """Turn whatever a decoder raises into the error of a damaged file, which begins with `what`."""
    try:
        yield
    except RadiographError:
        raise
    except MemoryError:
        raise RadiographError("too_large", "not enough memory for its pixels", "a smaller file") from None
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise unreadable(f"the file cannot be read: {error.strerror}") from None
        if "truncated" in str(error).lower():
            raise RadiographError("truncated", "its end is missing", "a whole file", "fetch it again") from None
        raise unreadable(f"{what} ({type(error).__name__})") from None


def unreadable(what: str) -> RadiographError:
    """A file that is damaged or is something else."""
    return RadiographError(
        "unreadable",
        what,
        "a whole DICOM, PNG, JPEG, JPEG 2000, TIFF, BMP, WebP, GIF or PGM file",
        "fetch the file again, save it in another of these formats, or remove it",
    )
