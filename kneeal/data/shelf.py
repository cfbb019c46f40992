"""Rows of numbers in a file, each stored whole or not at all."""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from kneeal.data.source import free_memory
from kneeal.errors import UserError

_Rows = NDArray[np.int64]
_Values = NDArray[np.float16]
#: Bytes of the largest file whose rows stay in memory once they are read.
_IN_MEMORY = 2**28


@dataclass(eq=False)
class Shelf:
    """N rows of float16 in a file of fixed size, with a checksum of each row in a file beside it.

    A row is stored once its checksum is, and is compared with it before its first use in a process. A process that is
    killed while it writes therefore leaves whole rows only, and damaged rows are found. Rows of a small file stay in
    memory from then on, whatever becomes of the file; those of a large one are read when they are used. Rows that the
    disk does not take are kept in memory for as long as the object lives.
    """

    path: Path  #: The file of the rows; the checksums are in `<path>.crc`.
    shape: tuple[int, ...]  #: N, then the shape of a row.
    log: Callable[[str], None]  #: Called with a message for the user.
    damaged: int = 0  #: Number of rows whose checksum did not match.

    def __post_init__(self) -> None:
        n = self.shape[0]
        self._row_bytes = 2 * math.prod(self.shape[1:])
        self._valid = np.zeros(n, bool)
        self._files: tuple[BinaryIO, BinaryIO] | None = None
        self._writable = False
        self._small = n * self._row_bytes <= _IN_MEMORY
        self._memory: _Values | None = None
        self._in_memory = np.zeros(n, bool)
        try:
            self._open()
        except OSError as error:
            self._go_on_in_memory(error)

    def missing(self, rows: _Rows) -> _Rows:
        """Those of the rows that are not stored, ascending."""
        unknown: _Rows = np.unique(rows[~self._valid[rows]])
        if self._files is not None and len(unknown):
            data, checksums = self._files
            stored = np.frombuffer(_content(checksums, 0, 4 * len(self._valid)), np.uint32)
            for row in unknown[stored[unknown] != 0].tolist():
                value = np.frombuffer(_content(data, row * self._row_bytes, self._row_bytes), np.float16)
                if _checksum(value) != stored[row]:
                    self.damaged += 1
                    continue
                self._valid[row] = True
                if self._small:
                    self._remember(row, value.reshape(self.shape[1:]))
        left: _Rows = unknown[~self._valid[unknown]]
        return left

    def write(self, rows: _Rows, values: _Values) -> None:
        """Store values [B, *shape] in rows [B].

        Raises:
            UserError: Neither the disk nor the memory has room for them.
        """
        if self._writable and self._files is not None:
            try:
                self._write(*self._files, rows, values)
            except OSError as error:
                self._go_on_in_memory(error)
        if not self._writable and values.nbytes > free_memory() // 2:
            raise UserError(
                f"neither {self.path.parent} nor the memory has room for activations",
                f"{self.shape[0] * self._row_bytes / 2**30:.1f} GiB on that disk for all knees",
                "free some space there, or lower views.kept",
            )
        if self._small or not self._writable:
            self._remember(rows, values)
        self._valid[rows] = True

    def read(self, rows: _Rows, part: _Rows | None = None) -> _Values:
        """Stored rows [B, *shape], or of each row one part [B], which makes [B, *shape[1:]].

        Raises:
            UserError: Another program has shortened the file.
        """
        where = (rows,) if part is None else (rows, part)
        values = np.empty((len(rows), *self.shape[len(where) :]), np.float16)
        here = self._in_memory[rows]
        if self._memory is not None:
            values[here] = self._memory[tuple(index[here] for index in where)]
        size = 2 * math.prod(values.shape[1:])
        for k in np.flatnonzero(~here).tolist():
            assert self._files is not None
            start = int(rows[k]) * self._row_bytes + (0 if part is None else int(part[k]) * size)
            self._files[0].seek(start)
            if self._files[0].readinto(values[k]) != size:  # type: ignore[attr-defined]
                raise UserError(
                    f"{self.path} is shorter than when it was opened",
                    "activations that only kneeal writes",
                    "start the command again, with --resume for a run: they are computed again",
                )
        return values

    def _open(self) -> None:
        n = self.shape[0]
        checksums = self.path.with_name(f"{self.path.name}.crc")
        for file, size in ((self.path, n * self._row_bytes), (checksums, 4 * n)):
            with file.open("ab") as handle:
                if handle.tell() not in (0, size):
                    self.log(f"{file} has a size that it was not written with: its content is computed again")
                    handle.truncate(0)
                handle.truncate(size)
        # Through file handles: a mapping would end the process on a full disk, and where the file is shortened.
        self._files = (self.path.open("r+b", buffering=0), checksums.open("r+b", buffering=0))
        self._writable = True

    def _write(self, data: BinaryIO, checksums: BinaryIO, rows: _Rows, values: _Values) -> None:
        for row, value in zip(rows.tolist(), values, strict=True):
            for file, start, content in (
                (data, row * self._row_bytes, value.tobytes()),
                (checksums, row * 4, _checksum(value).tobytes()),
            ):
                file.seek(start)
                if file.write(content) != len(content):
                    raise OSError(28, "No space left on device")

    def _go_on_in_memory(self, error: OSError) -> None:
        self._writable = False
        self.log(
            f"cannot keep activations in {self.path.parent} ({error.strerror or error}): they are kept in memory for "
            "this run alone; with a writable folder and free space there, later runs use them again"
        )

    def _remember(self, rows: _Rows | int, values: _Values) -> None:
        if self._memory is None:
            # An array of zeros takes memory page by page, as it is written.
            self._memory = np.zeros(self.shape, np.float16)
        self._memory[rows] = values
        self._in_memory[rows] = True


def _content(file: BinaryIO, start: int, size: int) -> bytes:
    """Bytes of a file, 0 beyond its end."""
    file.seek(start)
    return file.read(size).ljust(size, b"\0")


def _checksum(row: _Values) -> np.uint32:
    """Never 0, which means that a row is not stored."""
    return np.uint32(zlib.crc32(row.tobytes()) or 1)
