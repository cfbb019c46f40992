"""The physical size of a pixel in the plane of the knee."""

import math
from collections.abc import Sequence
from typing import Any

from kneeal.radiograph.image import LARGEST_MM, SMALLEST_MM, RadiographError

#: Spacings that differ by less are the same but for rounding; a knee is magnified by more.
_SAME = 0.01
_DETECTOR = ("ImagerPixelSpacing", "NominalScannedPixelSpacing")


def pixel_size(
    header: Any, *, mm_per_px: float | None = None, magnification: float | None = None
) -> tuple[float, float]:
    """Height and width of a pixel in mm.

    PixelSpacing counts as it is where PixelSpacingCalibrationType says how it was calibrated, or where it differs from
    ImagerPixelSpacing; one that merely repeats that holds in the plane of the detector (DICOM PS3.3, 10.7.1.3).
    ImagerPixelSpacing and NominalScannedPixelSpacing do so too: they are divided by the magnification.

    Args:
        header: A pydicom data set.
        mm_per_px: What to take where the header has no spacing, in mm.
        magnification: Size on the detector over true size; otherwise the header's
            EstimatedRadiographicMagnificationFactor, the ratio of its distances, or 1.

    Raises:
        RadiographError: No pixel size is known, or it is impossible.
    """
    plain = _pair(header.get("PixelSpacing"))
    name, detector = next(((name, pair) for name in _DETECTOR if (pair := _pair(header.get(name)))), ("", None))
    repeated = (
        detector is not None
        and plain is not None
        and all(math.isclose(*ends, rel_tol=_SAME) for ends in zip(plain, detector, strict=True))
    )
    if plain is not None and (header.get("PixelSpacingCalibrationType") or not repeated):
        return _checked(plain, "PixelSpacing")
    if detector is not None:
        height, width = _checked(detector, name)
        factor = magnification if magnification is not None else _magnification(header)
        return height / factor, width / factor
    if mm_per_px is not None:
        return mm_per_px, mm_per_px
    raise RadiographError(
        "spacing",
        "no pixel spacing in the header",
        "PixelSpacing or ImagerPixelSpacing",
        "give the pixel size with --mm-per-px, or correct the header",
    )


def _pair(value: Any) -> tuple[float, float] | None:
    """Two numbers, NaN where they cannot be read; None where there are none, or 0, as some systems leave it empty."""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    try:
        numbers = [float(v) for v in (value if several else [value] if value else [])]
    except (TypeError, ValueError):
        numbers = [math.nan]
    if not any(numbers):
        return None
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (math.nan, math.nan)


def _checked(pair: tuple[float, float], name: str) -> tuple[float, float]:
    if not all(SMALLEST_MM <= value <= LARGEST_MM for value in pair):
        raise RadiographError(
            "spacing",
            f"{name} is {pair[0]:g} x {pair[1]:g} mm",
            f"two numbers from {SMALLEST_MM} to {LARGEST_MM} mm",
            "correct it in the header, or remove it there and give --mm-per-px",
        )
    return pair


def _magnification(header: Any) -> float:
    factor = _number(header.get("EstimatedRadiographicMagnificationFactor"))
    if factor is None:
        detector = _number(header.get("DistanceSourceToDetector"))
        patient = _number(header.get("DistanceSourceToPatient"))
        factor = detector / patient if detector and patient else None
    # A knee touches the detector or nearly so; another ratio is a default of the system and not a measurement.
    return factor if factor is not None and 1.0 <= factor <= 1.5 else 1.0


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
