"""From stored values to gray: rescale, logarithm, window, padding, MONOCHROME1, and the range between the percentiles.

A radiograph has millions of pixels but at most 65,536 values, and all of this is a function of the stored value alone:
it is worked out once for each value that can be stored, and looked up for each pixel.
"""

import contextlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from kneeal.radiograph.image import RadiographError

#: Percentiles at which the intensities of a radiograph are clipped.
LOW_PERCENTILE, HIGH_PERCENTILE = 5.0, 99.0
#: Small enough for the cache of a processor.
_BLOCK = 1 << 17
#: A window that leaves less than this share of the pixels between its ends is no window for this radiograph.
_MIN_INSIDE = 0.02
_DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"


def count_levels(codes: NDArray[np.unsignedinteger], n_levels: int) -> NDArray[np.int64]:
    """How often each code 0 .. n_levels - 1 occurs, in blocks, so that no large copy is made."""
    flat = codes.reshape(-1)
    counts = np.zeros(n_levels, np.int64)
    for start in range(0, flat.size, _BLOCK):
        # Exact: a block has fewer pixels than float32 can count. Several times as fast as numpy.bincount.
        block = flat[start : start + _BLOCK].reshape(1, -1)
        counts += cv2.calcHist([block], [0], None, [n_levels], [0, n_levels]).ravel().astype(np.int64)
    return counts


def look_up(table: NDArray[Any], codes: NDArray[np.unsignedinteger]) -> NDArray[Any]:
    """``table[codes]`` [H, W], in blocks: whole, the codes would be copied as 64-bit indices."""
    gray = np.empty(codes.shape, table.dtype)
    flat, out = codes.reshape(-1), gray.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        out[start : start + _BLOCK] = table[flat[start : start + _BLOCK]]
    return gray


def weighted_percentile(values: NDArray[np.float64], counts: NDArray[np.int64], percent: float) -> float:
    """The percentile of the multiset of values, as ``numpy.percentile`` with linear interpolation gives it."""
    order = np.argsort(values, kind="stable")
    sorted_values, last = values[order], np.cumsum(counts[order])
    position = percent / 100 * (int(last[-1]) - 1)
    below = int(np.floor(position))
    at = np.searchsorted(last, [below, min(below + 1, int(last[-1]) - 1)], side="right")
    low, high = sorted_values[at]
    return float(low + (high - low) * (position - below))


def lookup_table(values: NDArray[np.float64], counts: NDArray[np.int64], bits: int = 8) -> NDArray[Any]:
    """The gray of each code.

    Args:
        values: What each code stands for, bone bright, [n].
        counts: How often it occurs, [n].
        bits: Of the gray, 8 or 16.

    Returns:
        uint8 or uint16 [n]: clipped at the 5th and 99th percentile of the radiograph and scaled to the whole range.

    Raises:
        RadiographError: These are equal or a value that occurs is not finite, so that there is no picture.
    """
    there = counts > 0
    low = high = 0.0
    if np.isfinite(values[there]).all():
        low = weighted_percentile(values[there], counts[there], LOW_PERCENTILE)
        high = weighted_percentile(values[there], counts[there], HIGH_PERCENTILE)
    if not high > low:
        raise RadiographError("flat", "all pixels have one gray", "a radiograph")
    clipped = np.clip(np.where(there, values, low), low, high)
    top = 2.0**bits - 1
    table: NDArray[Any] = np.rint((clipped - low) * (top / (high - low))).astype(np.uint8 if bits == 8 else np.uint16)
    return table


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
    intent = str(header.get("PresentationIntentType", "") or "").upper()
    if intent == "FOR PROCESSING" or header.get("SOPClassUID") == _DX_FOR_PROCESSING:
        return lookup_table(_raw(header, values), counts, bits), ()
    return _presented(header, values, counts, apply_voi, bits)


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
) -> tuple[NDArray[Any], tuple[str, ...]]:
    sign = -1.0 if str(header.PhotometricInterpretation) == "MONOCHROME1" else 1.0
    plain = sign * values.astype(np.float64)
    if not apply_voi or not (header.get("VOILUTSequence") or header.get("WindowWidth") is not None):
        return lookup_table(plain, counts, bits), ()
    # A window that shows nothing is flat, and pydicom raises anything on a width of 0, an empty LUT, text for a number.
    with contextlib.suppress(Exception):
        luts = header.get("VOILUTSequence")
        if luts and "LUTData" not in luts[0] and header.get("WindowWidth") is None:
            raise ValueError("an empty LUT")
        if luts and values.dtype.kind == "f":
            # A LUT is indexed by whole numbers.
            values = np.rint(values).astype(np.int32)
        windowed = np.asarray(apply_voi_lut(values, header, prefer_lut=True), np.float64)
        if _shows(windowed, counts):
            return lookup_table(sign * windowed, counts, bits), ()
    return lookup_table(plain, counts, bits), ("the window or LUT of the header shows nothing and was not applied",)


def _shows(windowed: NDArray[np.float64], counts: NDArray[np.int64]) -> bool:
    """Whether enough of the radiograph lies between the ends of a window."""
    seen = windowed[counts > 0]
    inside = counts[counts > 0][(seen > seen.min()) & (seen < seen.max())]
    return bool(inside.sum() >= _MIN_INSIDE * counts.sum())
