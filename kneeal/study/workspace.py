"""A study in W&B: a sweep over its cells, and a saved workspace with one line per setting and standard-error bands."""

from typing import Any

import yaml

from kneeal.data.grades import N_GRADES
from kneeal.errors import UserError, extra, reason_of
from kneeal.loggers.wandb import STEP, has_key
from kneeal.stats.metrics import METRICS
from kneeal.study.grid import Study

#: Metrics of the panels with their titles, by section; the first section is open.
_SECTIONS = {
    "Learning curves": {
        "val/balanced_accuracy": "Balanced accuracy, validation",
        **{f"test/{m.name}": f"{m.title.capitalize()}, test" for m in METRICS.values() if m.short},
    },
    "Labels and cost": {
        **{f"al/queried_grade_{grade}": f"Queried knees of KL {grade}" for grade in range(N_GRADES)},
        "al/n_pseudo": "Pseudo-pool",
        "al/fit_seconds": "Seconds of training per round",
    },
}


def sweep_yaml(study: Study, options: list[str]) -> str:
    """A W&B sweep over the cells; `options` are those of `kneeal study cell` except the cell."""
    sweep = {
        "name": study.name,
        "project": study.name,
        "method": "grid",
        "metric": {"name": "test/balanced_accuracy", "goal": "maximize"},
        "parameters": {"cell": {"values": [cell.name for cell in study.cells]}},
        "command": ["${env}", "kneeal", "study", "cell", *options, "${args}"],
    }
    return yaml.safe_dump(sweep, sort_keys=False)


def make_workspace(study: Study, entity: str) -> Any:
    """A `wandb_workspaces.workspaces.Workspace` of the project that the cells log to, not saved yet."""
    with extra("workspace", "a W&B workspace"):
        from wandb_workspaces import workspaces
        from wandb_workspaces.reports.v2.interface import LinePlot
    projects = {cell.config.tracking.project for cell in study.cells if cell.config.tracking.mode != "none"}
    if len(projects) != 1:
        found = f"{len(projects)} W&B projects" if projects else "tracking.mode: none in every cell"
        raise UserError(found, "one W&B project for all cells", "set tracking.project or tracking.mode in its file")
    over_seeds: dict[str, Any] = {"groupby": "Group", "groupby_aggfunc": "mean", "groupby_rangefunc": "stderr"}
    sections = [
        workspaces.Section(
            name=name,
            is_open=number == 0,
            panels=[
                LinePlot(title=title, x=STEP, y=[metric], title_x="labels", **over_seeds)
                for metric, title in panels.items()
            ],
        )
        for number, (name, panels) in enumerate(_SECTIONS.items())
    ]
    grouped = workspaces.RunsetSettings(groupby=[workspaces.Metric("Group")])
    return workspaces.Workspace(
        entity=entity, project=projects.pop(), name=study.name, sections=sections, runset_settings=grouped
    )


def save_workspace(study: Study, entity: str) -> str:
    """Save the workspace in the project, and return its address."""
    workspace = make_workspace(study, entity)
    if not has_key():
        raise UserError("no key for W&B", "an account that the workspace is saved to", "run `wandb login` once")
    try:
        workspace.save()
    except Exception as error:  # whatever the library and the server behind it raise
        raise UserError(
            f"W&B did not save the workspace ({reason_of(error)})",
            f"a project {workspace.project!r} of {entity!r} that this key may write to",
            "log at least one cell of the study first, and check --entity",
        ) from error
    return str(workspace.url)
