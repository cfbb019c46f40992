"""A study on disk: names, configurations, logs and status of its cells."""

import json
from dataclasses import dataclass
from pathlib import Path

from kneeal.config import to_yaml
from kneeal.files import is_locked, write_atomic
from kneeal.loop.folder import RunFolder
from kneeal.study.grid import Cell, Study

STUDY = "study.json"
_LOGS = "logs"


@dataclass(frozen=True)
class CellStatus:
    """What a cell is doing."""

    state: str  #: "finished", "running", "failed", "interrupted" (goes on at the next start) or "waiting".
    rounds: int = 0  #: Finished rounds.
    n_labeled: int = 0  #: Labels of the last finished round.
    balanced_accuracy: float | None = None  #: On the test set, of the last finished round.
    error: str = ""  #: First line of what made it fail.


@dataclass(frozen=True)
class StudyFolder:
    """Paths of a study."""

    path: Path  #: The folder.

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
        """Write the names and configurations of the cells."""
        cells = {
            cell.name: {"setting": cell.setting, "seed": cell.seed, "by_seed": dict(cell.by_seed)}
            for cell in study.cells
        }
        write_atomic(self.path / STUDY, json.dumps({"name": study.name, "cells": cells}, indent=1) + "\n")
        for cell in study.cells:
            write_atomic(self.config(cell), to_yaml(cell.config))

    def status(self, cell: Cell) -> CellStatus:
        """What a cell is doing."""
        run = RunFolder(self.run(cell))
        rounds = run.rounds()
        last = rounds[-1] if rounds else {}
        state, error = "interrupted" if run.path.is_dir() else "waiting", ""
        if run.finished:
            state = "finished"
        elif is_locked(self.lock(cell)):
            state = "running"
        elif self.error(cell).is_file():
            state = "failed"
            error = self.error(cell).read_text(encoding="utf-8").strip().partition("\n")[0]
        return CellStatus(state, len(rounds), last.get("n_labeled", 0), last.get("test_balanced_accuracy"), error)


def check_data(study: Study) -> None:
    """Refuse a data set that cells still need and that cannot be used, before anything of the study is written."""
    from kneeal.build.dataset import open_cohort
    from kneeal.build.selection import make_schedule

    folder = StudyFolder(study.out)
    waiting = [cell.config for cell in study.cells if folder.status(cell).state != "finished"]
    needed = {(c.data.dir, c.active.n_init, c.active.n_query, c.active.budget): c for c in waiting}
    for config in needed.values():
        n_pool = len(open_cohort(config).splits.train)
        make_schedule(config, n_pool).check(n_pool)
