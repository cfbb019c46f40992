"""Reading one radiograph: DICOM or picture, any gray encoding, at a known physical scale, within strict limits."""

from pathlib import Path

import numpy as np

from kneeal.radiograph.dicom import read_dicom
from kneeal.radiograph.gray import count_levels, look_up, lookup_table
from kneeal.radiograph.image import Radiograph, RadiographError, ReadOptions, read_start, unreadable
from kneeal.radiograph.picture import PICTURE_SIGNATURES, read_codes

__all__ = ["Radiograph", "RadiographError", "ReadOptions", "read_radiograph"]

#: Data sets without a preamble begin with a tag of group 0002 or 0008.
_BARE_DICOM = (b"\x02\x00", b"\x08\x00", b"\x00\x08")


def read_radiograph(path: Path, options: ReadOptions | None = None) -> Radiograph:
    """Read a DICOM file (CR, DX, secondary capture) or a gray PNG, JPEG, JPEG 2000, TIFF, BMP, WebP, GIF or PGM.

    Args:
        path: The file; its content decides what it is, its name does not.
        options: How to read it.

    Raises:
        RadiographError: It cannot be used; `reason` is one of unreadable, truncated, mismatch, no_pixels, too_large,
            codec, color, frames, modality, processing, flat, spacing. Nothing larger than about four times the decoded
            picture is allocated on the way.
    """
    options = options or ReadOptions()
    start, size = read_start(path)
    if size > options.max_bytes:
        raise RadiographError(
            "too_large", f"a file of {size / 1e6:.0f} MB", f"at most {options.max_bytes / 1e6:.0f} MB", "remove it"
        )
    if start[128:] == b"DICM" or start.startswith(_BARE_DICOM):
        return read_dicom(path, options)
    if not start.startswith(PICTURE_SIGNATURES):
        raise unreadable("neither a DICOM file nor a picture" if size else "an empty file")
    codes = read_codes(path, max_pixels=options.max_pixels)
    levels = np.arange(np.iinfo(codes.dtype).max + 1.0)
    gray = look_up(lookup_table(levels, count_levels(codes, len(levels)), options.bits), codes)
    if options.mm_per_px is None:
        raise RadiographError(
            "spacing", "a picture has no pixel spacing", "a known physical scale", "give it with --mm-per-px"
        )
    return Radiograph(gray, (options.mm_per_px, options.mm_per_px))
