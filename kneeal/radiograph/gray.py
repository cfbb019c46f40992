"""What a DICOM header makes of the stored values: rescale, logarithm, window, padding, MONOCHROME1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from kneeal.radiograph.errors import RadiographError
from kneeal.radiograph.levels import lookup_table

#: A window that leaves less than this share of the pixels between its ends is no window for this radiograph.
_MIN_INSIDE = 0.02


def gray_levels(
    header: Any, counts: NDArray[np.int64], *, apply_voi: bool, bits: int = 8
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The gray of each stored value, and what was done otherwise than the header asks.

    Args:
        header: A pydicom data set.
        counts: How often each stored value occurs, [n].
        apply_voi: Whether its window or VOI LUT is applied.
        bits: Of the gray, 8 or 16.

    Returns:
        uint8 or uint16 [n], bone bright, the ends of the range at the 5th and 99th percentile of the radiograph
        without its padding.

    Raises:
        RadiographError: All pixels have one value, or they are raw data of which the header does not say what they
            mean.
    """
    values = _modality(header, len(counts))
    counts = _without_padding(header, counts)
    if str(header.get("PresentationIntentType", "") or "").upper() == "FOR PROCESSING":
        table = lookup_table(_raw(header, values), counts, bits)
        notes: tuple[str, ...] = ()
    else:
        table, notes = _presented(header, values, counts, apply_voi, bits)
    if table is None:
        raise RadiographError("flat", "all pixels have one gray", "a radiograph")
    return table, notes


def _modality(header: Any, n_levels: int) -> NDArray[Any]:
    """The stored values, signed where the header says so, rescaled."""
    codes = np.arange(n_levels)
    signed = int(header.get("PixelRepresentation") or 0) == 1
    stored: NDArray[Any] = np.where(codes >= n_levels // 2, codes - n_levels, codes) if signed else codes
    return np.asarray(apply_modality_lut(stored.astype(np.int32), header))


def _without_padding(header: Any, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The counts without those of the padding, which is no part of the radiograph; all where nothing else is there."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return counts
    ends = sorted(int(end) % len(counts) for end in (value, header.get("PixelPaddingRangeLimit", value)))
    rest = counts.copy()
    rest[ends[0] : ends[1] + 1] = 0
    return rest if np.count_nonzero(rest) > 1 else counts


def _raw(header: Any, values: NDArray[Any]) -> NDArray[np.float64]:
    """Raw detector data as bone bright attenuation: the logarithm of an intensity, or what is one already."""
    relationship = str(header.get("PixelIntensityRelationship", "") or "").upper()
    sign = int(header.get("PixelIntensityRelationshipSign") or 0)
    if relationship not in ("LIN", "LOG") or sign not in (1, -1):
        raise RadiographError(
            "processing",
            "raw data (FOR PROCESSING) without PixelIntensityRelationship LIN or LOG and its sign",
            "data for presentation, or raw data whose meaning the header gives",
            "export the processed image",
        )
    intensity = values.astype(np.float64) if sign == 1 else values.max() - values.astype(np.float64)
    return -np.log(np.maximum(intensity, 1.0)) if relationship == "LIN" else -intensity


def _presented(
    header: Any, values: NDArray[Any], counts: NDArray[np.int64], apply_voi: bool, bits: int
) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
    sign = -1.0 if str(header.PhotometricInterpretation) == "MONOCHROME1" else 1.0
    plain = sign * values.astype(np.float64)
    if not apply_voi or not (header.get("VOILUTSequence") or header.get("WindowWidth") is not None):
        return lookup_table(plain, counts, bits), ()
    try:
        if header.get("VOILUTSequence") and values.dtype.kind == "f":
            # A LUT is indexed by whole numbers.
            values = np.rint(values).astype(np.int32)
        windowed = np.asarray(apply_voi_lut(values, header, prefer_lut=True), np.float64)
        table = lookup_table(sign * windowed, counts, bits) if _shows(windowed, counts) else None
    except Exception:  # pydicom raises anything on a window of width 0, an empty LUT, text for a number
        table = None
    if table is not None:
        return table, ()
    return lookup_table(plain, counts, bits), ("the window or LUT of the header shows nothing and was not applied",)


def _shows(windowed: NDArray[np.float64], counts: NDArray[np.int64]) -> bool:
    """Whether enough of the radiograph lies between the ends of a window."""
    seen = windowed[counts > 0]
    inside = counts[counts > 0][(seen > seen.min()) & (seen < seen.max())]
    return bool(inside.sum() >= _MIN_INSIDE * counts.sum())
