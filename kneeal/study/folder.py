"""A study on disk: configurations, logs and status of its cells, and the status as text."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from kneeal.config import to_yaml
from kneeal.files import is_locked, write_atomic
from kneeal.loop.folder import RunFolder
from kneeal.report.text import TextTable
from kneeal.study.grid import Cell, Study

STUDY = "study.json"


@dataclass(frozen=True)
class CellStatus:
    """What a cell is doing."""

    state: str  #: "finished", "running", "failed", "interrupted" (resumes at the next start) or "waiting".
    rounds: int = 0  #: Finished rounds.
    n_labeled: int = 0  #: Labels of the last finished round.
    balanced_accuracy: float | None = None  #: On the test set, of the last finished round.
    error: str = ""  #: First line of what made it fail.

    def __str__(self) -> str:
        if self.state == "finished" and self.balanced_accuracy is not None:
            return f"{100 * self.balanced_accuracy:.1f} % @{self.n_labeled}"
        return f"{self.state} ({self.rounds} rounds)" if self.rounds else self.state


@dataclass(frozen=True)
class StudyFolder:
    """Paths of a study."""

    path: Path  #: The folder.

    def run(self, cell: Cell) -> Path:
        """The run folder of a cell."""
        return self.path / cell.name

    def file(self, cell: Cell, what: str) -> Path:
        """A file beside a cell's run folder.

        Its configuration ("yaml"), what it prints ("log"), why it failed ("error", not there unless it did), or what
        the process that started it holds until it ends ("lock").
        """
        return self.path / "logs" / f"{cell.name}.{what}"

    def arguments(self, cell: Cell) -> list[str]:
        """The arguments of `kneeal.study.cell`."""
        return [str(path) for path in (self.file(cell, "yaml"), self.run(cell), self.file(cell, "error"))]

    def write(self, study: Study) -> None:
        """Write the names and configurations of the cells."""
        cells = {
            cell.name: {"setting": cell.setting, "seed": cell.seed, "by_seed": dict(cell.by_seed)}
            for cell in study.cells
        }
        write_atomic(self.path / STUDY, json.dumps({"name": study.name, "cells": cells}, indent=1) + "\n")
        for cell in study.cells:
            write_atomic(self.file(cell, "yaml"), to_yaml(cell.config))

    def status(self, cell: Cell) -> CellStatus:
        """What a cell is doing."""
        run = RunFolder(self.run(cell))
        rounds = run.rounds()
        last = rounds[-1] if rounds else {}
        state, error = "interrupted" if run.path.is_dir() else "waiting", ""
        if run.finished:
            state = "finished"
        elif is_locked(self.file(cell, "lock")):
            state = "running"
        elif self.file(cell, "error").is_file():
            state = "failed"
            error = self.file(cell, "error").read_text(encoding="utf-8").strip().partition("\n")[0]
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


def show_grid(study: Study) -> str:
    """A line per setting, a column per seed: accuracy of finished cells, progress of the others; then the errors."""
    folder = StudyFolder(study.out)
    statuses = [(cell, folder.status(cell)) for cell in study.cells]
    seeds = sorted({cell.seed for cell in study.cells})
    rows: dict[str, dict[int, str]] = {}
    for cell, status in statuses:
        rows.setdefault(cell.setting, {})[cell.seed] = str(status)
    table = [[setting, *(found.get(seed, "-") for seed in seeds)] for setting, found in rows.items()]
    counts = Counter(status.state for _, status in statuses)
    lines = [TextTable("", ["setting", *(f"seed {seed}" for seed in seeds)], table).text().lstrip("\n")]
    lines += [f"{len(statuses)} cells in {study.out}: " + ", ".join(f"{n} {state}" for state, n in counts.items())]
    lines += [
        f"{cell.setting}, seed {cell.seed}: FAILED: {status.error} (more in {folder.file(cell, 'error')})"
        for cell, status in statuses
        if status.state == "failed"
    ]
    return "\n".join(lines)


def outcome(study: Study, cell: Cell, status: CellStatus, n_done: int, how: str) -> str:
    """A line for a cell that has ended, the `n_done`th of the study."""
    head = f"[{n_done}/{len(study.cells)}] {cell.setting}, seed {cell.seed}: "
    if status.state != "finished":
        return f"{head}FAILED: {status.error}"
    accuracy = 100 * (status.balanced_accuracy or 0.0)
    return f"{head}finished {how}, balanced accuracy {accuracy:.1f} % at {status.n_labeled} labels"
