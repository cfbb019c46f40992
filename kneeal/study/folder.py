"""A study on disk: what its cells are called, what each is doing, and who works on it."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kneeal.config import to_yaml
from kneeal.errors import UserError
from kneeal.files import write_atomic
from kneeal.loop.folder import QUERY
from kneeal.study.grid import Cell, Study

STUDY = "study.json"
_LOGS = "logs"


@dataclass(frozen=True)
class CellStatus:
    """What a cell is doing.

    Attributes:
        state: "finished", "running", "failed", "begun" (interrupted, goes on at the next start) or "waiting".
        rounds: Finished rounds.
        n_labeled: Labels of the last finished round.
        balanced_accuracy: On the test set, of the last finished round.
        error: First line of what made it fail.
    """

    state: str
    rounds: int = 0
    n_labeled: int = 0
    balanced_accuracy: float | None = None
    error: str = ""


@dataclass(frozen=True)
class StudyFolder:
    """Paths of a study.

    Attributes:
        path: The folder.
    """

    path: Path

    def run(self, cell: Cell) -> Path:
        """The run folder of a cell."""
        return self.path / cell.name

    def config(self, cell: Cell) -> Path:
        """The configuration that a cell is started with."""
        return self.path / _LOGS / f"{cell.name}.yaml"

    def log(self, cell: Cell) -> Path:
        """What a cell prints."""
        return self.path / _LOGS / f"{cell.name}.log"

    def error(self, cell: Cell) -> Path:
        """Why a cell failed; not there unless it did."""
        return self.path / _LOGS / f"{cell.name}.error"

    def lock(self, cell: Cell) -> Path:
        """Locked while a process works on the cell."""
        return self.path / _LOGS / f"{cell.name}.lock"

    def write(self, study: Study) -> None:
        """Write what the cells are called, and their configurations."""
        cells = {
            cell.name: {"setting": cell.setting, "seed": cell.seed, "by_seed": dict(cell.by_seed)}
            for cell in study.cells
        }
        write_atomic(self.path / STUDY, json.dumps({"name": study.name, "cells": cells}, indent=1) + "\n")
        for cell in study.cells:
            write_atomic(self.config(cell), to_yaml(cell.config))

    def status(self, cell: Cell) -> CellStatus:
        """What a cell is doing."""
        run = self.run(cell)
        rounds, n_labeled, accuracy = _last_round(run / "rounds.csv")
        if is_finished(run):
            return CellStatus("finished", rounds, n_labeled, accuracy)
        if is_locked(self.lock(cell)):
            return CellStatus("running", rounds, n_labeled, accuracy)
        if self.error(cell).is_file():
            lines = self.error(cell).read_text(encoding="utf-8").strip().splitlines()
            return CellStatus("failed", rounds, n_labeled, accuracy, lines[0] if lines else "")
        return CellStatus("begun" if run.is_dir() else "waiting", rounds, n_labeled, accuracy)


def check_data(study: Study) -> None:
    """Refuse a data set that cells still need and that cannot be used, before anything of the study is written.

    Raises:
        UserError: It is not there, or cannot be read or divided.
    """
    from kneeal.build.dataset import open_cohort

    folder = StudyFolder(study.out)
    needed = {cell.config.data.dir: cell for cell in study.cells if folder.status(cell).state != "finished"}
    for cell in needed.values():
        open_cohort(cell.config)


def is_finished(run: Path) -> bool:
    """Whether the budget of a run is spent and its last network evaluated: its last query is empty."""
    queries = sorted(run.glob(f"rounds/[0-9]*/{QUERY}"))
    if not queries:
        return False
    try:
        return not json.loads(queries[-1].read_text(encoding="utf-8"))["ids"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{queries[-1]} cannot be read ({error})",
            "a JSON file written by kneeal",
            "restore it from a backup, or remove its round's folder to do that round again",
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[int | None]:
    """Hold a lock while the block runs; gives None where another process holds it.

    The lock lives in the open file, so a child process that inherits the descriptor keeps it, and the end of the
    last holder, however sudden, frees it.
    """
    handle = try_lock(path)
    try:
        yield handle
    finally:
        if handle is not None:
            os.close(handle)


def try_lock(path: Path) -> int | None:
    """A descriptor that holds the lock, None where another process holds it. Close it to free the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    with suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return None
    return handle


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock."""
    if not path.is_file():
        return False
    with locked(path) as handle:
        return handle is None


def _last_round(path: Path) -> tuple[int, int, float | None]:
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    except OSError:
        return 0, 0, None
    if not rows:
        return 0, 0, None
    accuracy = rows[-1].get("test_balanced_accuracy")
    return len(rows), int(rows[-1]["n_labeled"]), float(accuracy) if accuracy else None
