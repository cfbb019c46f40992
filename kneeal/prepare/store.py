"""Finished radiographs on disk, so that a killed preparation goes on where it was."""

import hashlib
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kneeal import __version__
from kneeal.errors import UserError
from kneeal.files import atomic_file
from kneeal.localizer.pose import KneePose
from kneeal.prepare.work import PrepareOptions, RadiographResult, Work


class ResultStore:
    """Results by key, each a file written whole or not at all.

    A key is a hash of everything that the result depends on: the file's name, size and time, the options, the checksum
    of the localizer's weights, the corrections. So a changed file or option is done again, and nothing else.
    """

    def __init__(self, folder: Path, options: PrepareOptions, weights: str) -> None:
        self.folder = folder
        self._common = json.dumps([__version__, weights, asdict(options)], sort_keys=True, default=str)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write {folder}: {error.strerror}", "a writable folder", "give another") from error

    def key(self, work: Work) -> str:
        """The key of a radiograph."""
        try:
            stat = work.task.path.stat()
            state = [stat.st_size, stat.st_mtime_ns]
        except OSError:
            state = [-1, -1]
        marked = None if work.task.marked is None else [asdict(knee) for knee in work.task.marked]
        corrections = {side: asdict(value) for side, value in sorted(work.corrections.items())}
        wanted = sorted(work.task.grades)
        text = json.dumps([self._common, work.task.name, work.task.side, state, marked, corrections, wanted])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def get(self, key: str) -> RadiographResult | None:
        """The result; None where it is missing or damaged."""
        try:
            with np.load(self._path(key), allow_pickle=False) as data:
                meta = json.loads(bytes(data["meta"]))
                meta |= {name: tuple(map(_pose, meta[name])) for name in ("poses", "unused")}
                meta |= {"rejected": tuple(map(tuple, meta["rejected"])), "notes": tuple(meta["notes"])}
                return RadiographResult(
                    **meta, patches=np.asarray(data["patches"], np.uint8), thumbnail=bytes(data["thumbnail"])
                )
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            return None

    def put(self, key: str, result: RadiographResult) -> None:
        """Keep a result."""
        meta = asdict(result)
        patches, thumbnail = meta.pop("patches"), meta.pop("thumbnail")
        texts = {"meta": json.dumps(meta).encode(), "thumbnail": thumbnail}
        arrays: dict[str, Any] = {name: np.frombuffer(text, np.uint8) for name, text in texts.items()}
        with atomic_file(self._path(key)) as temporary, temporary.open("wb") as file:
            np.savez(file, patches=patches, **arrays)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npz"


def _pose(fields: dict[str, Any]) -> KneePose:
    return KneePose(**{**fields, "center_mm": tuple(fields["center_mm"])})
