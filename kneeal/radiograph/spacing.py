"""The physical size of a pixel in the plane of the knee."""

import math
from collections.abc import Sequence
from typing import Any

from kneeal.radiograph.errors import RadiographError
from kneeal.radiograph.options import LARGEST_MM, SMALLEST_MM

_CURE = "give the pixel size with --mm-per-px, or correct the header"


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
    detector = [_pair(header.get(name)) for name in ("ImagerPixelSpacing", "NominalScannedPixelSpacing")]
    calibrated = bool(header.get("PixelSpacingCalibrationType")) or plain not in detector
    if plain is not None and calibrated:
        return _checked(plain, "PixelSpacing")
    for name, pair in zip(("ImagerPixelSpacing", "NominalScannedPixelSpacing"), detector, strict=True):
        if pair is not None:
            pair = _checked(pair, name)
            factor = magnification if magnification is not None else _magnification(header)
            return pair[0] / factor, pair[1] / factor
    if mm_per_px is not None:
        return mm_per_px, mm_per_px
    raise RadiographError("spacing", "no pixel spacing in the header", "PixelSpacing or ImagerPixelSpacing", _CURE)


def _pair(value: Any) -> tuple[float, float] | None:
    if value is None or value == "":
        return None
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not values:
        return None
    try:
        numbers = [float(v) for v in values]
    except (TypeError, ValueError):
        return math.nan, math.nan
    if not any(numbers):  # how some systems leave it empty
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
