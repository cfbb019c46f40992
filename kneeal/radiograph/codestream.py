"""JPEG, JPEG-LS and JPEG 2000: their own header is checked before imagecodecs decodes them.

A file may say 100 x 100 px in its DICOM header and 60,000 x 60,000 px in the JPEG inside: a decoder believes the
latter. What a stream is, its own first bytes say, whatever transfer syntax or file name it comes under.
"""

import struct
from typing import Any, NamedTuple

import imagecodecs
from numpy.typing import NDArray

from kneeal.radiograph.image import RadiographError, unreadable

_JPEG, _JPEG_2000, _END = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\xd9"
_JPEG_LS = 0xF7
# Start-of-frame markers of JPEG (all but DHT, JPG and DAC, which lie between them) and of JPEG-LS.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {_JPEG_LS}
#: OpenJPEG takes 10 kB for each tile, however small.
_MAX_TILES = 4096


class Codestream(NamedTuple):
    """The size of a compressed picture."""

    rows: int  #: Height in px.
    columns: int  #: Width in px.
    components: int  #: 1 for gray.
    bits: int  #: Of each value; those of the first component.
    marker: int = 0  #: Of its frame, in JPEG and JPEG-LS.
    start: int = 0  #: Of that marker, or of the stream.


def codestream_size(data: bytes) -> Codestream | None:
    """The size of a JPEG, JPEG-LS or JPEG 2000 stream, JP2 boxes around it allowed; None where it names none."""
    if data[:2] == _JPEG:
        start = 2
        while start + 10 <= len(data) and data[start] == 0xFF:
            marker = data[start + 1]
            if marker in _FRAMES:
                bits, rows, columns, components = struct.unpack_from(">BHHB", data, start + 4)
                return Codestream(rows, columns, components, bits, marker, start)
            start += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", data, start + 2)[0]
        return None
    start = data.find(_JPEG_2000, 0, 4096)
    if start < 0 or len(data) < start + 43:
        return None
    right, bottom, left, top, tile_width, tile_height, _, _, components, bits = struct.unpack_from(
        ">8IHB", data, start + 8
    )
    if not tile_width * tile_height or -(-right // tile_width) * -(-bottom // tile_height) > _MAX_TILES:
        return None
    return Codestream(bottom - top, right - left, components, (bits & 0x7F) + 1, start=start)


def decode_stream(data: bytes, rows: int, columns: int, max_bits: int = 16) -> NDArray[Any]:
    """The values of a stream, [H, W] or [H, W, components], in whatever color space they are.

    One that is not of this size, has more bits or is cut off is refused.
    """
    size = codestream_size(data)
    if size is None:
        raise unreadable("the compressed pixel data have no valid header")
    if size[:2] != (rows, columns) or size.components > 4 or not 2 <= size.bits <= max_bits:
        raise RadiographError(
            "mismatch",
            f"a compressed picture of {size.columns} x {size.rows} px, {size.components} components, {size.bits} bit",
            f"{columns} x {rows} px with 1 to 4 of at most {max_bits} bit, as the header says",
        )
    # libjpeg fills up with gray what is cut off, and CharLS looks for the end for ever.
    if data.find(_END, size.start) < 0:
        raise RadiographError("truncated", "the compressed picture is cut off", "a whole file", "fetch the file again")
    if not size.marker:
        return imagecodecs.jpeg2k_decode(data, numthreads=1, verbose=0)
    if size.marker == _JPEG_LS:
        return imagecodecs.jpegls_decode(data)
    as_stored = "RGB" if size.components == 3 else None
    return imagecodecs.jpeg8_decode(data, colorspace=as_stored, outcolorspace=as_stored)
