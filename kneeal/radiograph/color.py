"""Gray pictures that were saved in color."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kneeal.radiograph.image import RadiographError

#: Channels that differ by up to so many of 255 levels are gray (JPEG rounds), and so is a picture in which no more than
#: this share of the pixels has a color (a frame, a mark).
_GRAY_LEVELS, _COLORED_SHARE = 24, 0.06
#: Channels whose means over the other pixels differ by more levels show a tint, which colors the bright parts most.
_TINT_LEVELS = 2


def gray_channels(pixels: NDArray[Any]) -> NDArray[Any]:
    """The gray [H, W] of three channels [H, W, 3] of 8 or 16 bit, RGB, or luminance with two differences (YCbCr).

    A picture in color is refused.
    """
    gray = _agreed(pixels)
    if gray is None and pixels.dtype == np.uint8:
        # A picture that is gray in one of the two is not in the other. Headers often name the wrong one.
        gray = _agreed(cv2.cvtColor(np.ascontiguousarray(pixels[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB))
    if gray is None:
        raise RadiographError("color", "the picture is in color", "a gray picture", "export it in gray, or remove it")
    return gray


def _agreed(pixels: NDArray[Any]) -> NDArray[Any] | None:
    """One channel of three that agree, their mean where they agree nearly everywhere; None for a picture in color."""
    first = np.ascontiguousarray(pixels[..., 0])
    if all(np.array_equal(first, pixels[..., channel]) for channel in (1, 2)):
        return first
    tolerance = _GRAY_LEVELS * (np.iinfo(pixels.dtype).max // 255)
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    colored = spread > tolerance
    if colored.mean() > _COLORED_SHARE:
        return None
    mean: NDArray[Any] = np.rint(pixels.mean(axis=2, dtype=np.float32)).astype(pixels.dtype)
    shades = [float(pixels[..., channel].mean(where=~colored)) for channel in range(3)]
    if max(shades) - min(shades) <= _TINT_LEVELS * tolerance / _GRAY_LEVELS:
        # A frame or a mark is no gray of the radiograph: the median moves no percentile.
        mean[colored] = np.median(mean[~colored])
    return mean
