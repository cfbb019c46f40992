"""The size that a compressed picture's own header names, read before anything is decoded.

A file may say 100 x 100 px in its DICOM header and 60,000 x 60,000 px in the JPEG inside: a decoder believes
the latter.
"""

from __future__ import annotations

import struct

# Start-of-frame markers of JPEG (all but DHT, JPG and DAC, which lie between them) and of JPEG-LS.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}
_MOST_TILES = 65_535


def codestream_size(data: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components of a JPEG, JPEG-LS or JPEG 2000 stream; None where it names none.

    Args:
        data: The stream from its first byte; for JPEG 2000 with or without the JP2 boxes around it.
    """
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    return _jpeg2000(data[start + 4 :]) if start >= 0 else None


def _jpeg(data: bytes) -> tuple[int, int, int] | None:
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
        elif marker in _FRAMES:
            if position + 10 > len(data):
                return None
            rows, columns, components = struct.unpack(">HHB", data[position + 5 : position + 10])
            return rows, columns, components
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:
            position += 2
        else:
            length = struct.unpack(">H", data[position + 2 : position + 4])[0]
            position += 2 + max(length, 2)
    return None


def _jpeg2000(data: bytes) -> tuple[int, int, int] | None:
    if len(data) < 38:
        return None
    _, _, right, bottom, left, top, tile_width, tile_height, _, _, components = struct.unpack(">HH8IH", data[:38])
    if not tile_width or not tile_height or right <= left or bottom <= top:
        return None
    if -(-right // tile_width) * -(-bottom // tile_height) > _MOST_TILES:
        return None
    return bottom - top, right - left, components
