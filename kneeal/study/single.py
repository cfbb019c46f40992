"""One cell at a time, for schedulers other than ours: job arrays and the agent of a W&B sweep."""

import yaml

from kneeal.errors import UserError, unknown_name
from kneeal.files import hold
from kneeal.study.cell import run_cell
from kneeal.study.folder import StudyFolder, check_data
from kneeal.study.grid import Cell, Study


def run_single(study: Study, *, name: str | None = None, index: int | None = None) -> None:
    """Run the cell of a name, or of an index from 0, or go on with it; a finished one is left as it is."""
    cell = _find(study, name, index)
    folder = StudyFolder(study.out)
    check_data(study)
    folder.write(study)
    with hold(folder.lock(cell), what=cell.name):
        if folder.status(cell).state == "finished":
            print(f"{cell.name} is finished already")
            return
        folder.error(cell).unlink(missing_ok=True)
        run_cell(folder.config(cell), folder.run(cell))


def sweep_yaml(study: Study, options: list[str]) -> str:
    """A W&B sweep over the cells; `options` are those of `kneeal study cell` except the cell."""
    command = ["${env}", "kneeal", "study", "cell", *options, "${args}"]
    sweep = {
        "name": study.name,
        "project": study.name,
        "method": "grid",
        "metric": {"name": "test/balanced_accuracy", "goal": "maximize"},
        "parameters": {"cell": {"values": [cell.name for cell in study.cells]}},
        "command": command,
    }
    return yaml.safe_dump(sweep, sort_keys=False)


def _find(study: Study, name: str | None, index: int | None) -> Cell:
    if (name is None) == (index is None):
        raise UserError(
            "no cell" if name is None else "a name and an index", "one of --cell and --index", "give one of them"
        )
    if index is not None:
        if not 0 <= index < len(study.cells):
            raise UserError(
                f"--index {index}", f"0 to {len(study.cells) - 1}", f"the study has {len(study.cells)} cells"
            )
        return study.cells[index]
    cells = {cell.name: cell for cell in study.cells}
    if name not in cells:
        raise unknown_name("cell", str(name), cells, "see `kneeal study status`")
    return cells[name]
