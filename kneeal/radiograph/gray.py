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
#: And one that leaves fewer values makes steps.
_MIN_LEVELS = 16
_FAR = 1e12
#: Most pixels of raw data that may be below 0.
_MAX_BELOW = 0.01
_DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
#: Channels that differ by up to so many of 255 levels are gray (JPEG rounds), and so is a picture in which no more than
#: this share of the pixels has a color (a frame, a mark).
_GRAY_LEVELS, _COLORED_SHARE = 24, 0.06
#: A tint (film, paper, a screen) gives all pixels of one gray the same color: their channels are within so many levels
#: of its means, and these differ by no more than the second number.
_NEAR_TINT, _MAX_TINT = 16, 80


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
    """`table[codes]` [H, W], in blocks: whole, the codes would be copied as 64-bit indices."""
    gray = np.empty(codes.shape, table.dtype)
    flat, out = codes.reshape(-1), gray.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        out[start : start + _BLOCK] = table[flat[start : start + _BLOCK]]
    return gray


def weighted_percentile(values: NDArray[np.float64], counts: NDArray[np.int64], percent: float) -> float:
    """The percentile of the multiset of values, as `numpy.percentile` with linear interpolation gives it."""
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


def word(header: Any, name: str) -> str:
    """The text of a tag of a pydicom data set, empty where it is missing."""
    return str(header.get(name, "") or "").strip()


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
    codes = np.arange(len(counts))
    if int(header.get("PixelRepresentation") or 0) == 1:
        codes = np.where(codes >= len(counts) // 2, codes - len(counts), codes)
    counts = _without_padding(header, codes, counts)
    values, notes = _modality(header, codes.astype(np.int32))
    # Raw are the detector's own data: the header says so, or gives their relation to the beam and no purpose.
    intent = word(header, "PresentationIntentType").upper()
    beam = word(header, "PixelIntensityRelationship").upper() == "LIN" and header.get("PixelIntensityRelationshipSign")
    if intent == "FOR PROCESSING" or header.get("SOPClassUID") == _DX_FOR_PROCESSING or (beam and not intent):
        return lookup_table(_attenuation(header, values, counts), counts, bits), notes
    table, more = _presented(header, values, counts, apply_voi, bits)
    return table, notes + more


def _modality(header: Any, stored: NDArray[np.int32]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The stored numbers, rescaled."""
    # pydicom raises anything on an empty LUT, or on text for a number.
    with contextlib.suppress(Exception):
        for lut in header.get("ModalityLUTSequence") or ():
            # Entries of 9 to 15 bit take 16, which pydicom does not know here.
            lut.LUTDescriptor[2] = 16 if lut.LUTDescriptor[2] > 8 else 8
        values = np.asarray(apply_modality_lut(stored, header))
        if values.min() < values.max():
            return values, ()
    return stored, ("the rescale or modality LUT of the header is malformed and was not applied",)


def _without_padding(header: Any, stored: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The counts without those of the padding, which is no part of the radiograph; all where nothing else is there."""
    ends = [header.get("PixelPaddingValue"), header.get("PixelPaddingRangeLimit")]
    with contextlib.suppress(TypeError, ValueError):  # no number
        low, high = sorted(stored[int(end) % len(counts)] for end in (ends[0], ends[0] if ends[1] is None else ends[1]))
        rest = np.where((stored >= low) & (stored <= high), 0, counts)
        return rest if np.count_nonzero(rest) > 1 else counts
    return counts


def _attenuation(header: Any, values: NDArray[Any], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Raw detector data as bone bright attenuation: the logarithm of an intensity, or what is one already."""
    relationship = word(header, "PixelIntensityRelationship").upper()
    sign = int(header.get("PixelIntensityRelationshipSign") or 0)
    intensity = values.astype(np.float64) if sign == 1 else values.max() - values.astype(np.float64)
    if relationship == "LOG" and sign in (1, -1):
        return -intensity
    # Where many are below 0, as a detector's noise is not, nothing says what 0 is.
    below = counts[intensity < 0].sum()
    if relationship != "LIN" or sign not in (1, -1) or below > _MAX_BELOW * counts.sum():
        raise RadiographError(
            "processing",
            "raw data (FOR PROCESSING) whose meaning the header does not give",
            "PixelIntensityRelationship LIN or LOG with its sign, and no intensities below 0; or data for presentation",
            "export the processed image",
        )
    intensity = np.maximum(intensity, intensity[(counts > 0) & (intensity > 0)].min(initial=np.inf))
    return np.asarray(-np.log(intensity), np.float64)


def _presented(
    header: Any, values: NDArray[Any], counts: NDArray[np.int64], apply_voi: bool, bits: int
) -> tuple[NDArray[Any], tuple[str, ...]]:
    sign = -1.0 if str(header.PhotometricInterpretation) == "MONOCHROME1" else 1.0
    plain = sign * values.astype(np.float64)
    luts = header.get("VOILUTSequence")
    if not apply_voi or not (luts or header.get("WindowWidth") is not None):
        return lookup_table(plain, counts, bits), ()
    # A window that shows nothing is flat, and pydicom raises anything on a width of 0, an empty LUT, text for a number.
    with contextlib.suppress(Exception):
        by_lut = bool(luts) and "LUTData" in luts[0]
        if luts and not by_lut and header.get("WindowWidth") is None:
            raise ValueError("an empty LUT")
        # A LUT is indexed by whole numbers; what a window makes of numbers far away are its ends.
        values = np.rint(values).astype(np.int32) if by_lut else np.append(values, (-_FAR, _FAR))
        windowed = np.asarray(apply_voi_lut(values, header, prefer_lut=True), np.float64)
        # It shows something if enough of the radiograph lies between its ends.
        low, high = windowed.min(), windowed.max()
        margin, seen = (high - low) / 256, windowed[: len(counts)]
        inside = (counts > 0) & (seen > low + margin) & (seen < high - margin)
        if counts[inside].sum() >= _MIN_INSIDE * counts.sum() and len(np.unique(seen[inside])) >= _MIN_LEVELS:
            return lookup_table(sign * seen, counts, bits), ()
    return lookup_table(plain, counts, bits), ("the window or LUT of the header shows nothing and was not applied",)


def gray_channels(pixels: NDArray[Any]) -> NDArray[Any]:
    """The gray [H, W] of channels [H, W, 3] of 8 or 16 bit, RGB or YCbCr; color other than a tint is refused."""
    first = np.ascontiguousarray(pixels[..., 0])
    if all(np.array_equal(first, pixels[..., channel]) for channel in (1, 2)):
        return first
    step = np.iinfo(pixels.dtype).max // 255
    spread = np.ptp(pixels, axis=2)
    if pixels.dtype == np.uint8 and (spread > _GRAY_LEVELS).mean() > _COLORED_SHARE:
        # A picture that is gray in one of the two is not in the other. Headers often name the wrong one.
        other = cv2.cvtColor(np.ascontiguousarray(pixels[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
        other_spread = np.ptp(other, axis=2)
        if other_spread.mean() < spread.mean():
            pixels, spread = other, other_spread
    mean: NDArray[Any] = np.rint(pixels.mean(axis=2, dtype=np.float32)).astype(pixels.dtype)
    colored = (spread > _GRAY_LEVELS * step) & ~_is_tint(pixels, mean, step)
    if colored.mean() > _COLORED_SHARE:
        raise RadiographError("color", "the picture is in color", "a gray picture", "export it in gray, or remove it")
    # A frame or a mark is no gray of the radiograph: the median moves no percentile.
    mean[colored] = np.median(mean[~colored])
    return mean


def _is_tint(pixels: NDArray[Any], mean: NDArray[Any], step: int) -> NDArray[np.bool_]:
    """Whether each pixel [H, W] has the color that most pixels of its gray have."""
    grays, levels = (mean // step).astype(np.uint8), np.arange(256)
    near, usual = np.ones(mean.shape, bool), []
    for channel in np.moveaxis(pixels, 2, 0):
        there = (channel // step).astype(np.uint8)
        counts = cv2.calcHist([grays, there], [0, 1], None, [256, 256], [0, 256, 0, 256])
        usual.append(counts @ levels / np.maximum(counts.sum(axis=1), 1))
        near &= cv2.absdiff(there, look_up(np.rint(usual[-1]).astype(np.uint8), grays)) <= _NEAR_TINT
    near &= look_up(np.ptp(usual, axis=0) <= _MAX_TINT, grays)
    return near
