"""Activations of a frozen encoder: computed once per knee and view, kept beside the data set."""

import errno
import json
import math
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import KW_ONLY, dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kneeal.data.prepared import digest
from kneeal.data.source import PatchSource, free_memory
from kneeal.errors import UserError
from kneeal.files import hold_lock, write_atomic
from kneeal.seeds import derive_seed

#: Name of the folder in a data set's own.
FOLDER = "activations"
#: Most random views of a knee that are kept: each has a seed of its own.
MAX_KEPT = 2**16
_ABOUT, _LOCK = "about.json", ".lock"
#: Patch pairs that are encoded at once.
_BATCH = 64
#: Bytes of activations of one evaluation batch.
_EVALUATION_BYTES = 64 * 2**20
#: Knees between two reports of progress.
_REPORT = 1024
#: Bytes of the largest file whose rows stay in memory once they are read.
_IN_MEMORY = 2**28

_Rows = NDArray[np.int64]
_Values = NDArray[np.float16]


def view_seed(knee_id: str) -> int:
    """Seed of the first kept view of a knee, a function of its name alone; the other views have the next seeds."""
    return derive_seed(0, "kept view", knee_id) * MAX_KEPT


@dataclass(eq=False)
class RowFile:
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
        self._files: tuple[FileIO, FileIO] | None = None
        self._writable = False
        self._small = n * self._row_bytes <= _IN_MEMORY
        self._memory: _Values | None = None
        self._in_memory = np.zeros(n, bool)
        checksums = self.path.with_name(f"{self.path.name}.crc")
        try:
            for file, size in ((self.path, n * self._row_bytes), (checksums, 4 * n)):
                with file.open("ab") as handle:
                    if handle.tell() not in (0, size):
                        self.log(f"{file} has an unexpected size: its content is computed again")
                        handle.truncate(0)
                    handle.truncate(size)
            # Through file handles: a mapping would end the process on a full disk, and where the file is shortened.
            self._files = (self.path.open("r+b", buffering=0), checksums.open("r+b", buffering=0))
            self._writable = True
        except OSError as error:
            self._continue_in_memory(error)

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
                self._continue_in_memory(error)
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
            if self._files[0].readinto(values[k]) != size:
                raise UserError(
                    f"{self.path} is shorter than when it was opened",
                    "activations that only kneeal writes",
                    "start the command again, with --resume for a run: they are computed again",
                )
        return values

    def _write(self, data: FileIO, checksums: FileIO, rows: _Rows, values: _Values) -> None:
        for row, value in zip(rows.tolist(), values, strict=True):
            for file, start, content in (
                (data, row * self._row_bytes, value.tobytes()),
                (checksums, row * 4, _checksum(value).tobytes()),
            ):
                file.seek(start)
                if file.write(content) != len(content):
                    raise OSError(errno.ENOSPC, "No space left on device")

    def _continue_in_memory(self, error: OSError) -> None:
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


def _content(file: FileIO, start: int, size: int) -> bytes:
    """Bytes of a file, 0 beyond its end."""
    file.seek(start)
    return file.read(size).ljust(size, b"\0")


def _checksum(row: _Values) -> np.uint32:
    """Never 0, which means that a row is not stored."""
    return np.uint32(zlib.crc32(row.tobytes()) or 1)


@dataclass(eq=False)
class Activations:
    """Activations of the knees of a data set, in place of their patches.

    Each knee is encoded without a random view, and in `n_views` random views, when it is first asked for. Results are
    float16 in files under `folder`, in one folder for each encoder and preparation of the patches, so that all runs
    share them. Two processes that want the same take turns. Deleting the folder costs time only.
    """

    source: PatchSource  #: Patches and random views.
    row: Mapping[str, int]  #: Row of each knee, the one that `source` gives.
    encode: Callable[[Tensor], Tensor]  #: From patches [N, 2, H, H] in [-1, 1] to activations [N, 2, ...].
    _: KW_ONLY
    n_views: int  #: Random views per knee, from which a seed chooses; with 0, training sees knees without random views.
    folder: Path  #: Where the activations are kept.
    made_of: Mapping[str, Any]  #: What the activations depend on besides the random views: weights, patches, size.
    view_settings: Mapping[str, Any]  #: Settings of the random views.
    device: torch.device  #: Where to encode.
    log: Callable[[str], None] = lambda message: print(message, file=sys.stderr)  #: Called with a message for the user.

    def __post_init__(self) -> None:
        self._ids = sorted(self.row, key=self.row.__getitem__)
        self._folder = self.folder / digest(self.made_of)[:16]
        shape = tuple(self.encode(self.source.plain(torch.tensor([0]), self.device)).shape[1:])
        self._open({**self.made_of, "shape": list(shape)})
        n = len(self._ids)
        self._plain = RowFile(self._folder / "plain.f16", (n, *shape), self.log)
        if self.n_views:
            name = f"views-{digest({**self.view_settings, 'n_views': self.n_views, 'seeds': 'by knee'})[:16]}.f16"
            self._views = RowFile(self._folder / name, (n, self.n_views, *shape), self.log)
        #: Knees of an evaluation batch.
        self.batch_size = max(1, _EVALUATION_BYTES // (4 * math.prod(shape)))

    def rows(self, ids: Sequence[str], device: torch.device | None = None) -> Tensor:
        """Rows of knees, int64 [N], always on the CPU."""
        return self.source.rows(ids)

    def plain(self, rows: Tensor, device: torch.device) -> Tensor:
        """Activations [B, 2, ...] of rows [B] without a random view, float32."""
        self._fill(self._plain, rows, lambda missing: self.encode(self.source.plain(missing, self.device)))
        return torch.from_numpy(self._plain.read(rows.numpy())).to(device).float()

    def views(self, rows: Tensor, seeds: Tensor, device: torch.device) -> Tensor:
        """Activations [B, 2, ...] of one random view of each of rows [B], which seeds [B] choose."""
        if not self.n_views:
            return self.plain(rows, device)
        self._fill(self._views, rows, self._views_of)
        values = torch.from_numpy(self._views.read(rows.numpy(), (seeds.cpu() % self.n_views).numpy()))
        return values.to(device).float()

    def _fill(self, file: RowFile, rows: Tensor, compute: Callable[[Tensor], Tensor]) -> None:
        if not len(file.missing(rows.numpy())):
            return
        with self._lock_held():
            file.damaged = 0
            missing = file.missing(rows.numpy())  # another process may have computed some
            n = len(missing)
            if file.damaged:
                self.log(f"{file.path}: {file.damaged} damaged activations are computed again")
            for start in range(0, n, _BATCH):
                if start % _REPORT == 0 and n >= _REPORT // 4:
                    self.log(f"encoding knees once for all runs: {start} of {n}")
                part = missing[start : start + _BATCH]
                values = compute(torch.from_numpy(part)).half()
                if not values.isfinite().all():
                    raise UserError(
                        "activations outside of the range of 16-bit numbers",
                        "an encoder whose activations are below 65,504",
                        "choose another model.freeze or model.backbone",
                    )
                file.write(part, values.cpu().numpy())
            if n >= _REPORT // 4:
                self.log(f"encoding knees once for all runs: {n} of {n}")

    def _views_of(self, rows: Tensor) -> Tensor:
        """[B, n_views, 2, ...]; view v of a knee is a function of the knee and v alone."""
        seeds = torch.tensor([view_seed(self._ids[row]) for row in rows.tolist()], device=self.device)
        views = [self.encode(self.source.views(rows, seeds + v, self.device)) for v in range(self.n_views)]
        return torch.stack(views, dim=1)

    def _open(self, about: Mapping[str, Any]) -> None:
        """Make the folder, and empty it where it holds something else."""
        path, text = self._folder / _ABOUT, json.dumps(about, indent=1, sort_keys=True) + "\n"
        # The files in it meet the same error, report it, and continue in memory.
        with suppress(OSError, UserError), self._lock_held():
            if path.is_file() and path.read_text(encoding="utf-8", errors="replace") == text:
                return
            if files := list(self._folder.glob("*.f16*")):
                self.log(f"{self._folder} holds something other than its name says: it is computed again")
                for file in files:
                    file.unlink()
            write_atomic(path, text)

    @contextmanager
    def _lock_held(self) -> Iterator[None]:
        """Hold the folder, waiting for another process; without a lock where the folder cannot be written."""
        waiting = "another process is encoding the same knees: waiting for it"
        with ExitStack() as stack:
            with suppress(OSError, UserError):
                stack.enter_context(hold_lock(self._folder / _LOCK, on_wait=lambda: self.log(waiting)))
            yield
