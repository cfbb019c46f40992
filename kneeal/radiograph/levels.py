"""From stored values to 8 bit by way of the levels: a radiograph has millions of pixels but at most 65,536 values.

Rescaling, VOI, inversion and clipping are functions of the stored value alone, so they are worked out once for each
value that can be stored, and looked up for each pixel.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

#: Percentiles at which the intensities of a radiograph are clipped.
LOW_PERCENTILE, HIGH_PERCENTILE = 5.0, 99.0
#: Small enough for the cache of a processor.
_BLOCK = 1 << 17


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


def lookup_table(values: NDArray[np.float64], counts: NDArray[np.int64], bits: int = 8) -> NDArray[Any] | None:
    """The gray of each code.

    Args:
        values: What each code stands for, bone bright, [n].
        counts: How often it occurs, [n].
        bits: Of the gray, 8 or 16.

    Returns:
        uint8 or uint16 [n]: clipped at the 5th and 99th percentile of the radiograph and scaled to the whole range;
        None where these are equal or a value that occurs is not finite, so that there is no picture.
    """
    there = counts > 0
    if not np.isfinite(values[there]).all():
        return None
    low = weighted_percentile(values[there], counts[there], LOW_PERCENTILE)
    high = weighted_percentile(values[there], counts[there], HIGH_PERCENTILE)
    if not high > low:
        return None
    clipped = np.clip(np.where(there, values, low), low, high)
    top = 2.0**bits - 1
    table: NDArray[Any] = np.rint((clipped - low) * (top / (high - low))).astype(np.uint8 if bits == 8 else np.uint16)
    return table
