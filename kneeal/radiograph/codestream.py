"""Compressed pixels: what their own header says of their size, and which decoder reads them.

A file may say 100 x 100 px in its DICOM header and 60,000 x 60,000 px in the JPEG inside: a decoder believes the
latter. pydicom tries every decoder that it finds; here each transfer syntax has its own, by name. GDCM ends the whole
process on damaged JPEG streams, so it is given nothing that another decoder reads.
"""

import contextlib
import struct
from collections.abc import Iterator
from typing import NamedTuple

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from kneeal.radiograph.image import RadiographError, unreadable

# Start-of-frame markers of JPEG (all but DHT, JPG and DAC, which lie between them) and of JPEG-LS.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}
_MOST_TILES = 65_535
_TABLES, _RESTART, _LOSSLESS, _SCAN = 0xC4, 0xDD, 0xC3, 0xDA
_REMARKS = {*range(0xE0, 0xF0), 0xFE}
RLE, _EXTENDED = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.51"
_CONVERT = "convert the file, for example with dcmtk's dcmdjpeg"
_GDCM, _JPEG_LS, _JPEG_2000 = (
    f"pip install {packages} (or '.[dicom]' in the checkout)"
    for packages in ("python-gdcm", "pyjpegls", "pylibjpeg pylibjpeg-openjpeg")
)
#: Transfer syntax: pydicom's names of decoders, the better first; and the cure where none of them is there.
_DECODERS: dict[str, tuple[tuple[str, ...], str]] = {
    RLE: (("pydicom",), _CONVERT),
    "1.2.840.10008.1.2.4.50": (("pillow",), _CONVERT),
    _EXTENDED: (("pillow",), _CONVERT),
    "1.2.840.10008.1.2.4.57": (("gdcm", "pylibjpeg"), _GDCM),
    "1.2.840.10008.1.2.4.70": (("gdcm", "pylibjpeg"), _GDCM),
    "1.2.840.10008.1.2.4.80": (("pyjpegls",), _JPEG_LS),
    "1.2.840.10008.1.2.4.81": (("pyjpegls",), _JPEG_LS),
    "1.2.840.10008.1.2.4.90": (("pylibjpeg", "pillow"), _JPEG_2000),
    "1.2.840.10008.1.2.4.91": (("pylibjpeg", "pillow"), _JPEG_2000),
    "1.2.840.10008.1.2.4.201": (("pylibjpeg",), _JPEG_2000),
    "1.2.840.10008.1.2.4.202": (("pylibjpeg",), _JPEG_2000),
    "1.2.840.10008.1.2.4.203": (("pylibjpeg",), _JPEG_2000),
}


class Codestream(NamedTuple):
    """The size of a compressed picture."""

    rows: int  #: Height in px.
    columns: int  #: Width in px.
    components: int  #: 1 for gray.
    bits: int  #: Of each value; those of the first component.


def codestream_size(data: bytes) -> Codestream | None:
    """The size of a JPEG, JPEG-LS or JPEG 2000 stream, JP2 boxes around it allowed; None where it names none."""
    if data[:2] == b"\xff\xd8":
        start = next((start for marker, start, _ in _segments(data) if marker in _FRAMES), len(data))
        if start + 10 > len(data):
            return None
        bits, rows, columns, components = struct.unpack_from(">BHHB", data, start + 4)
        return Codestream(rows, columns, components, bits)
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0 or len(data) < start + 43:
        return None
    right, bottom, left, top, tile_width, tile_height, _, _, components, bits = struct.unpack_from(
        ">8IHB", data, start + 8
    )
    if not tile_width or not tile_height or right <= left or bottom <= top:
        return None
    if -(-right // tile_width) * -(-bottom // tile_height) > _MOST_TILES:
        return None
    return Codestream(bottom - top, right - left, components, (bits & 0x7F) + 1)


def check_compressed(frame: bytes, syntax: UID, rows: int, columns: int, allocated: int) -> None:
    """Refuse a stream that cannot be that of a gray picture of this size, of at most `allocated` bits."""
    if syntax == RLE:
        # A run of two bytes becomes at most 128, so a stream of this size is a bomb or no stream of this picture.
        if len(frame) > 2 * rows * columns * allocated // 8 + 1024:
            raise RadiographError("mismatch", "more RLE data than pixels", "a whole picture")
        return
    size = codestream_size(frame)
    if size is None:
        raise unreadable("the compressed pixel data have no valid header")
    if size[:3] != (rows, columns, 1) or not 2 <= size.bits <= allocated:
        raise RadiographError(
            "mismatch",
            f"the compressed picture is {size.columns} x {size.rows} px with {size.components} components of "
            f"{size.bits} bit",
            f"{columns} x {rows} px with 1 of at most {allocated} bit, as the header says",
        )


def strip_lossless(data: bytes) -> bytes | None:
    """A lossless JPEG stream of one component without its remarks (APPn, COM); None where it is not built as one.

    GDCM ends the process on streams that name no Huffman table, and on some remarks.
    """
    kept, seen = [data[:2]], set[int]()
    for marker, start, end in _segments(data):
        if marker == _SCAN:
            return b"".join([*kept, data[start:]]) if {_TABLES, _LOSSLESS} <= seen else None
        known = marker in {_TABLES, _RESTART, _LOSSLESS, *_REMARKS} and end >= start + 4
        if not known or (marker == _LOSSLESS and marker in seen):
            return None
        if marker not in _REMARKS:
            kept.append(data[start:end])
            seen.add(marker)
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, first byte and end of each segment of a JPEG stream, up to where there is no marker any more."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        alone = marker == 0x01 or 0xD0 <= marker <= 0xD7
        length = 0 if alone else struct.unpack(">H", data[position + 2 : position + 4])[0]
        yield marker, position, position + 2 + length
        position += 2 + (0 if alone else max(length, 2))


def choose_decoder(syntax: UID, *, deep: bool) -> str:
    """The name by which pydicom calls the decoder; `deep` pixels have more than 8 bits.

    Raises:
        RadiographError: With the reason "codec", where none of the decoders is installed.
    """
    names, cure = _DECODERS.get(str(syntax), ((), _CONVERT))
    found = f"no decoder for {syntax.name}"
    if syntax == _EXTENDED and deep:
        # Neither GDCM nor Pillow decodes these for pydicom.
        names, found = ("pylibjpeg",), f"{found} of more than 8 bit"
    with contextlib.suppress(NotImplementedError):
        available = get_decoder(syntax).available_plugins
        for name in names:
            if name in available:
                return name
    raise RadiographError("codec", found, "a plugin of pydicom that reads it", cure)
