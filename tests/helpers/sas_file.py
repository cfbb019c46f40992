"""A SAS7BDAT file by hand: 32 bit, little-endian, not compressed, one page with the description and all rows.

No library writes this format. Its layout is known by reverse engineering (the `sas7bdat` package of R describes
it); only what a reader needs is filled in.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

_MAGIC = bytes.fromhex("0000000000000000 00000000c2ea8160 b31411cfbd920800 09c7318c181f1011")
_HEADER, _PAGE, _TEXT = 1024, 16384, 24


def write_sas(path: Path, columns: Sequence[str], rows: Sequence[Sequence[float | str]]) -> None:
    """Write rows of numbers (8 bytes) and texts (24 bytes); a column is what its first row is."""
    numeric = [isinstance(value, (int, float)) for value in rows[0]]
    widths = [8 if is_number else _TEXT for is_number in numeric]
    starts = [sum(widths[:k]) for k in range(len(widths))]
    length = sum(widths)
    names = b"".join(name.encode().ljust(32) for name in columns)
    row_size = bytearray(480)
    row_size[:4] = b"\xf7\xf7\xf7\xf7"
    for place, value in ((5, length), (6, len(rows)), (9, len(columns)), (15, len(rows))):
        struct.pack_into("<I", row_size, 4 * place, value)
    text = b"\xfd\xff\xff\xff" + struct.pack("<HHII", 12 + 16 + len(names), 0, 0, 0) + b" " * 16 + names
    # Offsets of names count from the size field of the text, which is 4 bytes behind the text's signature.
    pointers = b"".join(struct.pack("<HHHH", 0, 28 + 32 * k, len(name), 0) for k, name in enumerate(columns))
    attributes = b"".join(
        struct.pack("<IIHBB", start, width, 0, 1 if is_number else 2, 0)
        for start, width, is_number in zip(starts, widths, numeric, strict=True)
    )
    parts = [
        bytes(row_size),
        b"\xf6\xf6\xf6\xf6" + struct.pack("<II", len(columns), 0),
        text,
        b"\xff\xff\xff\xff" + struct.pack("<II", 0, 0) + pointers + bytes(8),
        b"\xfc\xff\xff\xff" + struct.pack("<II", 0, 0) + attributes + bytes(8),
        *(b"\xfe\xfb\xff\xff" + bytes(48) for _ in columns),
    ]
    page = bytearray(_PAGE)
    struct.pack_into("<HHH", page, 16, 0x0200, len(parts) + len(rows), len(parts))
    end = _PAGE
    for k, part in enumerate(parts):
        end -= len(part)
        page[end : end + len(part)] = part
        struct.pack_into("<IIBBH", page, 24 + 12 * k, end, len(part), 0, 0, 0)
    at = 24 + 12 * len(parts)
    at += at % 8
    for row in rows:
        for value, is_number in zip(row, numeric, strict=True):
            page[at : at + (8 if is_number else _TEXT)] = (
                struct.pack("<d", float(value)) if is_number else str(value).encode("latin-1").ljust(_TEXT)
            )
            at += 8 if is_number else _TEXT
    assert at < end, "more rows than a page holds"
    header = bytearray(_HEADER)
    header[:32] = _MAGIC
    header[37], header[39], header[70] = 1, ord("2"), 29
    header[84:92] = b"SAS FILE"
    struct.pack_into("<III", header, 196, _HEADER, _PAGE, 1)
    path.write_bytes(bytes(header) + bytes(page))
