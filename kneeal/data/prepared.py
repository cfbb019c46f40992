"""A prepared data set on disk: manifest.csv, patches.npy and dataset.json, written whole or not at all."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kneeal import __version__
from kneeal.data.manifest import COLUMNS, Manifest, check_manifest, read_manifest
from kneeal.errors import UserError, readable
from kneeal.files import atomic_folder, cannot_write, describe_path, disk_errors, write_atomic

MANIFEST, PATCHES, INFO = "manifest.csv", "patches.npy", "dataset.json"
#: Reports that a preparation without a single usable knee leaves behind.
LEFTOVERS = ("rejected.csv", "sheet.html")


@dataclass(frozen=True, eq=False)
class PreparedDataset:
    """A prepared data set."""

    path: Path  #: Its folder.
    manifest: Manifest  #: One row per knee.
    patches: NDArray[np.uint8]  #: uint8 [N, 2, H, H], medial then lateral, memory-mapped, in the order of the manifest.
    info: Mapping[str, Any]  #: dataset.json.

    @cached_property
    def row(self) -> dict[str, int]:
        """Knee id to its row in `patches`."""
        return {knee: row for row, knee in enumerate(self.manifest.ids)}

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the content, independent of the folder."""
        return digest(self.info["checksums"])

    def thumbnail(self, knee_id: str) -> NDArray[np.uint8]:
        """Both patches of a knee side by side, uint8 [H, 2 H]."""
        return np.concatenate(list(self.patches[self.row[knee_id]]), axis=1)

    @classmethod
    def open(cls, path: Path, *, verify: bool = False) -> Self:
        """Open a data set; `verify` also compares the checksum of the patches, which reads them all."""
        manifest, info, patches, changed = _read(path)
        if changed:
            raise UserError(
                f"{path / MANIFEST} was changed since it was prepared, in: {', '.join(changed)}",
                "the manifest whose checksums dataset.json holds",
                f"if the change is intended, run `kneeal prepare checksum {path}`; otherwise restore the file",
            )
        if verify and file_checksum(path / PATCHES) != info["checksums"].get(PATCHES):
            raise UserError(
                f"{path / PATCHES} is not the file that was prepared", "its checksum", "restore it, or prepare again"
            )
        return cls(path, manifest, patches, info)


def write_prepared(
    out: Path,
    rows: pd.DataFrame,
    patches: Iterable[NDArray[np.uint8]],
    *,
    source: str,
    options: Mapping[str, Any],
    patch_px: int = 128,
    more: Callable[[Path], None] | None = None,
) -> None:
    """Write a data set, whole or not at all.

    `patches` gives a pair uint8 [2, H, H] for each row, in order, H being `patch_px`. `more` is called with the
    folder before it is moved into place, to write further files into it.
    """
    refuse_occupied(out)
    rows = rows.assign(**{column: "" for column in ("site", "kl", "path", "split") if column not in rows.columns})
    manifest = check_manifest(rows[[*COLUMNS, *(c for c in rows.columns if c not in COLUMNS)]], "the new manifest")
    with atomic_folder(out) as work:
        _write_patches(work / PATCHES, patches, (len(manifest), 2, patch_px, patch_px))
        manifest.frame.to_csv(work / MANIFEST, index=False, lineterminator="\n")
        info = {
            "kneeal": __version__, "source": source, "options": dict(options),
            "n_knees": len(manifest), "patch_px": patch_px,
        }  # fmt: skip
        _write_info(work, manifest.frame, info, file_checksum(work / PATCHES))
        if more is not None:
            more(work)
        for name in LEFTOVERS:
            (out / name).unlink(missing_ok=True)


def renew_checksums(path: Path) -> list[str]:
    """Renew the checksums of a manifest that was edited on purpose, and return the columns that had changed.

    Knee ids, their order and sides tie the manifest to patches.npy, so they must be unchanged. The checksum of the
    patches is kept.
    """
    manifest, info, _, changed = _read(path)
    moved = [name for name in ("knee_id", "side") if name in changed]
    if moved:
        raise UserError(
            f"{path / MANIFEST}: {' and '.join(moved)} changed since it was prepared, or rows were reordered",
            "the same knees in the same order, since row n describes patch pair n",
            "restore these columns and the order of the rows, or prepare the data set again",
        )
    _write_info(path, manifest.frame, info, info["checksums"][PATCHES])
    return changed


def refuse_occupied(out: Path) -> None:
    """Refuse to write over something.

    Raises:
        UserError: `out` is a file, or a folder that holds more than `LEFTOVERS` or cannot be read.
    """
    try:
        occupied = out.is_file() or (out.is_dir() and any(path.name not in LEFTOVERS for path in out.iterdir()))
    except OSError as error:
        raise cannot_write(out, error) from error
    if occupied:
        raise UserError(f"{out} already exists", "a new folder", "give another --out, or remove it first")


def write_leftovers(out: Path, write: Callable[[Path], None]) -> None:
    """Write the reports of a preparation without a single usable knee; the next preparation may replace them."""
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        write(out)


def digest(content: Any) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def noted_checksum(path: Path, note: Path) -> str:
    """SHA-256 of a file as it is: read whole, unless the note says that its size and times are those of last time."""
    about = path.stat()
    seen = [about.st_size, about.st_mtime_ns, about.st_ctime_ns]
    with suppress(OSError, ValueError, TypeError):
        noted, checksum = json.loads(note.read_text(encoding="utf-8"))
        if noted == seen:
            return str(checksum)
    checksum = file_checksum(path)
    with suppress(UserError):  # a data set that cannot be written is read again each time
        write_atomic(note, json.dumps([seen, checksum]))
    return checksum


def _write_info(folder: Path, frame: pd.DataFrame, info: Mapping[str, Any], patches_checksum: str) -> None:
    checksums = {**_column_checksums(frame), PATCHES: patches_checksum}
    text = json.dumps({**info, "checksums": checksums}, indent=1, sort_keys=True)
    write_atomic(folder / INFO, text + "\n")


def _column_checksums(frame: pd.DataFrame) -> dict[str, str]:
    return {name: hashlib.sha256("\n".join(frame[name]).encode()).hexdigest() for name in map(str, frame.columns)}


def _write_patches(path: Path, patches: Iterable[NDArray[np.uint8]], shape: tuple[int, ...]) -> None:
    written = 0
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for pair in patches:
            if pair.shape != shape[1:] or pair.dtype != np.uint8:
                raise ValueError(f"a patch pair must be uint8 {shape[1:]}, but got {pair.dtype} {pair.shape}.")
            file.write(np.ascontiguousarray(pair).tobytes())
            written += 1
    if written != shape[0]:
        raise ValueError(f"there must be as many patch pairs as rows, but got {written} for {shape[0]}.")


def _open_patches(path: Path, n: int) -> NDArray[np.uint8]:
    cure = "restore the file, or prepare the data set again"
    with readable(path, "the patches of a prepared data set, whole", cure):
        # Not np.load, which would open an .npz archive under this name as well.
        patches = np.lib.format.open_memmap(path, mode="r")
    shape = patches.shape
    if patches.dtype != np.uint8 or patches.ndim != 4 or shape[1] != 2 or shape[2] != shape[3] or len(patches) != n:
        raise UserError(
            f"{path} holds {patches.dtype} {shape}", f"uint8 [{n}, 2, H, H] for the {n} knees of the manifest", cure
        )
    expected = patches.offset + patches.nbytes
    if path.stat().st_size != expected:
        raise UserError(f"{path} has {path.stat().st_size} bytes", f"{expected} bytes", cure)
    return patches


def _read(path: Path) -> tuple[Manifest, dict[str, Any], NDArray[np.uint8], list[str]]:
    """Manifest, dataset.json and patches of a data set, and the columns that changed since they were written."""
    if not (path / MANIFEST).is_file():
        pictures = path.is_dir() and next(path.glob("*/[0-4]/*.*"), None)
        raise UserError(
            f"no prepared data set in {path}: " + ("it is a folder of pictures" if pictures else describe_path(path)),
            f"a folder with {MANIFEST}, as written by `kneeal prepare` or `kneeal demo-data`",
            f"prepare it with `kneeal prepare folder {path} --out knees` and give --data knees"
            if pictures
            else "check the path, or make one; `kneeal prepare -h` and `kneeal demo-data -h` say how",
        )
    manifest = read_manifest(path / MANIFEST)
    with readable(path / INFO, "dataset.json as written by kneeal", "restore it, or prepare the data set again"):
        info = dict(json.loads((path / INFO).read_text(encoding="utf-8")))
        before = info.get("checksums")
        if not isinstance(before, dict) or PATCHES not in before:
            raise ValueError("no checksums")
    patches = _open_patches(path / PATCHES, len(manifest))
    now = _column_checksums(manifest.frame)
    changed = [name for name in now if before.get(name) != now[name]]
    return manifest, info, patches, changed + [name for name in before if name not in now and name != PATCHES]
