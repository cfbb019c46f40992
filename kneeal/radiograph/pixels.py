"""What is stored in the pixels of a DICOM radiograph, checked against its header before and after it is decoded."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import get_frame
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array

from kneeal.radiograph.codestream import decode_stream
from kneeal.radiograph.gray import gray_channels, word
from kneeal.radiograph.image import RadiographError, check_size

_STREAM_SYNTAXES = {
    *uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes, *uid.JPEG2000TransferSyntaxes,
    uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL,
}  # fmt: skip
_PALETTE = "PALETTE COLOR"
_SAMPLES = {"MONOCHROME1": 1, "MONOCHROME2": 1, _PALETTE: 1, "RGB": 3}


def stored_codes(header: Any, max_pixels: int) -> tuple[NDArray[np.unsignedinteger], int]:
    """What is stored in each pixel [H, W], as an unsigned number below the second value returned.

    Colors that are gray are reduced to it; then the number is the gray. What is too large is refused before it is
    decoded, and so is an impossible header; and pixels that do not fit it, or are in color.
    """
    rows, columns = _shape(header, max_pixels)
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        little = header.original_encoding[1]
        syntax = header.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    if syntax in _STREAM_SYNTAXES:
        frame = get_frame(header.PixelData, 0, number_of_frames=1)
        pixels = decode_stream(frame, rows, columns, int(header.BitsAllocated))
    else:
        pixels = _uncompressed(header, syntax, rows, columns)
    if pixels.shape not in ((rows, columns), (rows, columns, 3)) or pixels.dtype.itemsize > 2:
        raise RadiographError("mismatch", f"{pixels.shape} px were decoded", f"{rows} x {columns}, as the header says")
    codes: Any = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    codes = codes.view(np.dtype(f"u{codes.dtype.itemsize}"))
    if codes.ndim == 2:
        codes = _stored_bits(header, codes, compressed=syntax in _STREAM_SYNTAXES)
    if header.PhotometricInterpretation == _PALETTE:
        codes = apply_color_lut(codes, header)
    if codes.ndim == 2:
        return codes, 1 << header.BitsStored
    return gray_channels(codes), 1 << 8 * codes.dtype.itemsize


def _stored_bits(header: Any, codes: Any, *, compressed: bool) -> Any:
    """The pixels without what is no part of their values."""
    stored = header.BitsStored
    if compressed and not header.PixelRepresentation:
        # A codec gives the stored bits alone; one that loses may go above them.
        return np.minimum(codes, min((1 << stored) - 1, np.iinfo(codes.dtype).max))
    shift = 0 if compressed else int(header.get("HighBit", stored - 1)) + 1 - stored
    if shift:
        codes = codes >> shift
    if stored < codes.dtype.itemsize * 8:
        codes = codes & codes.dtype.type((1 << stored) - 1)  # overlays may lie in the bits above
    return codes


def _shape(header: Any, max_pixels: int) -> tuple[int, int]:
    """Rows and columns; what the standard demands but not every system writes is set in the header."""
    rows, columns, allocated = (int(header.get(name) or 0) for name in ("Rows", "Columns", "BitsAllocated"))
    check_size(rows, columns, max_pixels)
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise RadiographError("frames", "more than one frame", "one radiograph per file", "split or remove the file")
    stored = header.BitsStored = int(header.get("BitsStored") or allocated)
    high = int(header.get("HighBit", stored - 1))
    samples = header.SamplesPerPixel = int(header.get("SamplesPerPixel") or 1)
    header.PixelRepresentation = int(header.get("PixelRepresentation") or 0)
    photometric = header.PhotometricInterpretation = word(header, "PhotometricInterpretation").upper()
    expected_samples = _SAMPLES.get(photometric, 3 if photometric.startswith("YBR_") else 0)
    wrong = {
        f"Rows x Columns is {rows} x {columns}": rows < 1 or columns < 1,
        f"BitsAllocated {allocated}, BitsStored {stored}, HighBit {high}": allocated not in (8, 16)
        or not 2 <= stored <= high + 1 <= allocated,
        f"SamplesPerPixel {samples} for that PhotometricInterpretation, or none": samples != expected_samples,
    }
    if any(wrong.values()):
        raise RadiographError(
            "mismatch",
            "; ".join(text for text in wrong if wrong[text]),
            "a picture of 8 or 16 bit, in MONOCHROME1, MONOCHROME2 or a color space",
            "correct the header, export the radiograph with 8 or 16 bit, or remove the file",
        )
    return rows, columns


def _uncompressed(header: Any, syntax: uid.UID, rows: int, columns: int) -> Any:
    """The values as they are in the file, or as RLE has them."""
    if syntax.is_private or (syntax.is_encapsulated and syntax != uid.RLELossless):
        raise RadiographError(
            "codec",
            f"no decoder for the transfer syntax {syntax.name}",
            "uncompressed, RLE, JPEG, JPEG-LS or JPEG 2000",
            "convert the file, for example with dcmtk's dcmconv or gdcmconv --raw",
        )
    expected = rows * columns * header.SamplesPerPixel * int(header.BitsAllocated) // 8
    if header.PhotometricInterpretation == "YBR_FULL_422":
        expected = expected // 3 * 2
    if syntax.is_encapsulated:
        # A run of two bytes becomes at most 128, so a stream of this size is a bomb or no stream of this picture.
        if len(get_frame(header.PixelData, 0, number_of_frames=1)) > 2 * expected + 1024:
            raise RadiographError("mismatch", "more RLE data than pixels", "a whole picture")
    # Some systems fill up to a whole block; more than a row is another picture.
    elif not expected <= len(header.PixelData) < expected + max(2, expected // rows):
        found = len(header.PixelData)
        raise RadiographError(
            "truncated" if found < expected else "mismatch",
            f"{found} bytes of pixel data",
            f"{expected} bytes for {columns} x {rows} px of {header.BitsAllocated} bit",
            "fetch the file again, or correct Rows and Columns",
        )
    # Unused bits are cleared by the caller, without a further copy.
    plugin = "pydicom" if syntax.is_encapsulated else ""
    return pixel_array(header, raw=True, view_only=True, correct_unused_bits=False, decoding_plugin=plugin)
