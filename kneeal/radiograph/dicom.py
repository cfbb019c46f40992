"""A DICOM radiograph: what its header says of the picture, and the size of a pixel at the knee."""

import contextlib
import logging
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import Tag

from kneeal.radiograph.gray import count_levels, gray_levels, look_up, word
from kneeal.radiograph.image import (
    LARGEST_MM,
    SMALLEST_MM,
    Radiograph,
    RadiographError,
    ReadOptions,
    decoder_errors,
    read_start,
)
from kneeal.radiograph.pixels import stored_codes
from kneeal.tables import finite

_DEFLATED = "1.2.840.10008.1.2.1.99"
_META_GROUP, _PATIENT_ID = 0x0002, 0x0010_0020
#: Spacings that differ by less are the same but for rounding; a knee is magnified by more.
_SAME = 0.01
_DETECTOR = ("ImagerPixelSpacing", "NominalScannedPixelSpacing")
_DIRECTION = re.compile("[AFHLPR]{1,3}")
#: Lateral views as they are written; not "bilateral".
_LATERAL = re.compile(r"(?<!I)LAT|^(LL|RL|LM|ML)")
#: What shows no knee as a radiograph does, although a slice of it may look like one.
_OTHER_MODALITIES = {"CT", "MR", "PT", "NM", "US", "IVUS", "MG", "IO", "PX", "ES", "XC", "GM", "SM", "OP", "RTDOSE"}
#: Header tags that are read. Nothing else is, but for PatientID, to find the patient in a table (`read_patient_id`).
_TAGS = [
    "SpecificCharacterSet", "SOPClassUID", "Modality", "BurnedInAnnotation", "ViewPosition",
    "ViewCodeSequence", "EstimatedRadiographicMagnificationFactor", "DistanceSourceToDetector",
    "DistanceSourceToPatient", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelSpacing", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PlanarConfiguration", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "PresentationIntentType", "PixelIntensityRelationship", "PixelIntensityRelationshipSign",
    "PixelSpacingCalibrationType", "ImageLaterality", "Laterality", "PatientOrientation", "RescaleSlope",
    "RescaleIntercept", "RescaleType", "ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth",
    "VOILUTFunction", *(f"{color}PaletteColorLookupTable{part}" for color in ("Red", "Green", "Blue") for part in
    ("Descriptor", "Data")), "PixelData",
]  # fmt: skip


@contextlib.contextmanager
def quiet_pydicom() -> Iterator[None]:
    """No warnings, and nothing of pydicom's log: it prints values of the header, and tracebacks of its decoders.

    A malformed value is rejected where it is used.
    """
    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


@decoder_errors("the DICOM file is damaged")
@quiet_pydicom()
def read_dicom(path: Path, options: ReadOptions) -> Radiograph:
    """Read a DICOM radiograph; see `kneeal.radiograph.read_radiograph`."""
    header = _read_header(path, _TAGS)
    if "PixelData" not in header:
        with path.open("rb") as file:
            # pydicom leaves the tag of pixel data out where these are cut off.
            pydicom.dcmread(file, specific_tags=[], stop_before_pixels=True, force=True)
            breaks_off = file.read(4) in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
        if breaks_off:
            raise RadiographError(
                "truncated", "the file ends within its pixel data", "a whole file", "fetch the file again"
            )
        raise RadiographError("no_pixels", "no pixel data", "a radiograph (CR, DX or secondary capture)")
    if word(header, "Modality").upper() in _OTHER_MODALITIES:
        raise RadiographError("modality", "the header names another modality", "a plain radiograph")
    spacing = pixel_size(header, mm_per_px=options.mm_per_px, magnification=options.magnification)
    codes, n_levels = stored_codes(header, options.max_pixels)
    value = header.get("PatientOrientation") or ""
    ways = [value] if isinstance(value, str) else list(value)
    # Where rows and columns run: L and F (left, foot) as a radiograph is looked at.
    across, down, *_ = [*(way[0] if _DIRECTION.fullmatch(way) else "" for way in map(str, ways)), "", ""]
    codings = header.get("ViewCodeSequence") or []
    views = [word(header, "ViewPosition").upper(), *(word(coding, "CodeMeaning").upper() for coding in codings)]
    table, notes = gray_levels(header, count_levels(codes, n_levels), apply_voi=options.apply_voi, bits=options.bits)
    return Radiograph(
        gray=look_up(table, codes),
        mm_per_px=spacing,
        burned_in=word(header, "BurnedInAnnotation").upper() == "YES",
        sides={word(header, name)[:1].upper() for name in ("ImageLaterality", "Laterality")} & {"R", "L", "B"},
        flipped=across == "R" or down == "H",
        lateral=across in ("A", "P") or any(map(_LATERAL.search, views)),
        notes=notes,
    )


def _read_header(path: Path, tags: list[str], *, last: int | None = None) -> Any:
    """Some tags of a DICOM file, up to one that is given; deflated data, which may have any size, are refused."""
    start = 132 if read_start(path)[0][128:] == b"DICM" else 0
    with path.open("rb") as file:
        file.seek(start)
        # The meta information is never compressed.
        meta = read_dataset(
            file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag >> 16 != _META_GROUP
        )
        if str(meta.get("TransferSyntaxUID", "")) == _DEFLATED:
            raise RadiographError(
                "codec",
                "the whole data set is deflated",
                "a transfer syntax whose size can be known before it is unpacked",
                "convert the file, for example with dcmtk's dcmconv",
            )
        file.seek(0)
        stop = None if last is None else lambda tag, *_: tag > last
        return read_partial(file, stop, force=not start, specific_tags=[Tag(tag) for tag in tags])


def read_patient_id(path: Path) -> str:
    """PatientID of a DICOM file; empty where it is missing or the file is something else.

    Raises:
        RadiographError: The data set is deflated, or it is no file or one that cannot be opened.
    """
    try:
        with quiet_pydicom():
            return word(_read_header(path, ["PatientID"], last=_PATIENT_ID), "PatientID")
    except RadiographError:
        raise
    except Exception:  # pydicom raises anything on what is not DICOM
        return ""


def pixel_size(
    header: Any, *, mm_per_px: float | None = None, magnification: float | None = None
) -> tuple[float, float]:
    """Height and width of a pixel in mm.

    PixelSpacing counts as it is where PixelSpacingCalibrationType says how it was calibrated, or where it differs from
    ImagerPixelSpacing; one that merely repeats that holds in the plane of the detector (DICOM PS3.3, 10.7.1.3).
    ImagerPixelSpacing and NominalScannedPixelSpacing do so too: they are divided by the magnification.

    Args:
        header: A pydicom data set.
        mm_per_px: What to take where the header has no spacing, or an impossible one, in mm.
        magnification: Size on the detector over true size; otherwise the header's
            EstimatedRadiographicMagnificationFactor, the ratio of its distances, or 1.

    Raises:
        RadiographError: No possible pixel size is known.
    """
    plain = _pair(header.get("PixelSpacing"))
    detector = next(filter(None, (_pair(header.get(name)) for name in _DETECTOR)), None)
    repeated = plain and detector and all(map(partial(math.isclose, rel_tol=_SAME), plain, detector))
    if plain and (header.get("PixelSpacingCalibrationType") or not repeated):
        return plain
    if detector:
        factor = magnification if magnification is not None else _magnification(header)
        return detector[0] / factor, detector[1] / factor
    if mm_per_px is not None:
        return mm_per_px, mm_per_px
    raise RadiographError(
        "spacing",
        "no usable pixel spacing in the header",
        f"PixelSpacing or ImagerPixelSpacing, two numbers from {SMALLEST_MM} to {LARGEST_MM} mm",
        "give the pixel size with --mm-per-px, or correct the header",
    )


def _pair(value: Any) -> tuple[float, float] | None:
    """Height and width in mm; None where there are no such two numbers, as some systems write 0."""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    numbers = [finite(number) for number in (value if several else [])]
    if len(numbers) != 2 or not all(number and SMALLEST_MM <= number <= LARGEST_MM for number in numbers):
        return None
    return float(value[0]), float(value[1])


def _magnification(header: Any) -> float:
    factor, detector, patient = (finite(header.get(name)) or 0.0 for name in (
        "EstimatedRadiographicMagnificationFactor", "DistanceSourceToDetector", "DistanceSourceToPatient",
    ))  # fmt: skip
    if factor <= 0 < patient:
        factor = detector / patient
    # A knee touches the detector or nearly so; another ratio is a default of the system and not a measurement.
    return factor if 1.0 <= factor <= 1.5 else 1.0
