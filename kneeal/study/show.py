"""The grid of a study as text: settings by seeds."""

from collections import Counter

from kneeal.report.text import TextTable
from kneeal.study.folder import CellStatus, StudyFolder
from kneeal.study.grid import Cell, Study

_EMPTY = "-"


def show_grid(study: Study) -> str:
    """A line per setting, a column per seed: accuracy of finished cells, progress of the others; then the errors."""
    folder = StudyFolder(study.out)
    statuses = {cell.name: folder.status(cell) for cell in study.cells}
    seeds = sorted({cell.seed for cell in study.cells})
    settings = list(dict.fromkeys(cell.setting for cell in study.cells))
    place = {(cell.setting, cell.seed): statuses[cell.name] for cell in study.cells}
    rows = [[setting, *(_cell(place.get((setting, seed))) for seed in seeds)] for setting in settings]
    counts = Counter(status.state for status in statuses.values())
    lines = [TextTable("", ["setting", *(f"seed {seed}" for seed in seeds)], rows).text().lstrip("\n")]
    lines += [f"{len(statuses)} cells in {study.out}: " + ", ".join(f"{n} {state}" for state, n in counts.items())]
    lines += failures(study, statuses)
    return "\n".join(lines)


def failures(study: Study, statuses: dict[str, CellStatus]) -> list[str]:
    """A line for each failed cell with its error and where to read on."""
    folder = StudyFolder(study.out)
    return [
        f"{cell.setting}, seed {cell.seed}: FAILED: {statuses[cell.name].error} (more in {folder.error(cell)})"
        for cell in study.cells
        if statuses[cell.name].state == "failed"
    ]


def outcome(study: Study, cell: Cell, status: CellStatus, n_done: int, how: str) -> str:
    """A line for a cell that has ended, the `n_done`th of the study."""
    head = f"[{n_done}/{len(study.cells)}] {cell.setting}, seed {cell.seed}: "
    if status.state != "finished":
        return f"{head}FAILED: {status.error}"
    accuracy = 100 * (status.balanced_accuracy or 0.0)
    return f"{head}finished {how}, balanced accuracy {accuracy:.1f} % at {status.n_labeled} labels"


def _cell(status: CellStatus | None) -> str:
    if status is None:
        return _EMPTY
    if status.state == "finished" and status.balanced_accuracy is not None:
        return f"{100 * status.balanced_accuracy:.1f} % @{status.n_labeled}"
    return f"{status.state} ({status.rounds} rounds)" if status.rounds else status.state
