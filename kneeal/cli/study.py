"""`kneeal study`: the grid of a paper's table."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from kneeal.cli.program import Data, app, with_option_groups
from kneeal.errors import UserError, count

if TYPE_CHECKING:
    from kneeal.study.grid import Study

_app = typer.Typer(
    help="Run a grid of settings and seeds.",
    epilog="Example: kneeal study --config few_labels --data knees",
    rich_markup_mode=None,
)
app.add_typer(_app, name="study")


@dataclass(frozen=True)
class StudyArguments:
    """Which study."""

    config: Annotated[Path | None, Option(help="A study file, or a name: table2, few_labels, ...")] = None
    data: Data = None
    out: Annotated[Path | None, Option(help="Study folder; by default runs/NAME.")] = None
    settings: Annotated[
        list[str] | None, Option("--set", help="section.key=value in every cell.", metavar="KEY=VALUE")
    ] = None

    def over(self, context: typer.Context) -> StudyArguments:
        """These options; where one is missing, that given before the name of the subcommand."""
        return StudyArguments(**{name: value or getattr(context.obj, name) for name, value in vars(self).items()})

    def read(self) -> Study:
        """The study of these options."""
        from kneeal.study.grid import read_study

        if self.config is None:
            raise UserError("no study file", "a YAML file", "give --config FILE, for example --config table2")
        data = None if self.data is None else str(self.data)
        return read_study(self.config, settings=self.settings or (), data=data, out=self.out)


@_app.callback(invoke_without_command=True)
@with_option_groups
def study(
    context: typer.Context,
    given: StudyArguments,
    workers: Annotated[int | None, Option(help="Cells that run at once; by default as many as fit.")] = None,
    gpu_fraction: Annotated[float, Option(help="Share of a GPU that a cell takes.")] = 1.0,
    ray: Annotated[str | None, Option(help="Run on a Ray cluster: auto, or its address.")] = None,
    cell_gpus: Annotated[float | None, Option(min=0, help="With --ray: GPUs of a cell, fractions allowed.")] = None,
    cell_cpus: Annotated[float, Option(min=0, help="With --ray: CPUs of a cell.")] = 1.0,
) -> None:
    """Run every cell of a study file that is not finished; a killed study resumes."""
    context.obj = given
    if context.invoked_subcommand is not None:
        return
    from kneeal.study.folder import check_data, show_grid
    from kneeal.study.local import LocalStudy, find_resources

    read = given.read()
    if ray is not None:
        from kneeal.study.ray_cluster import run_on_ray

        statuses = run_on_ray(read, ray, log=_log, gpus=cell_gpus, cpus=cell_cpus)
    else:
        check_data(read)
        resources = find_resources(read, workers=workers, gpu_fraction=gpu_fraction)
        where = count(len(resources.gpus), "GPU") if resources.gpus else "no GPU"
        _log(
            f"{read.name}: {count(len(read.cells), 'cell')}, {resources.workers} at once with "
            f"{count(resources.threads, 'thread')} each, {where}; study folder {read.out}"
        )
        statuses = LocalStudy(read, resources, log=_log).run()
    print(show_grid(read))
    if any(status.state != "finished" for status in statuses.values()):
        sys.exit(1)


@_app.command()
@with_option_groups
def cell(
    context: typer.Context,
    given: StudyArguments,
    name: Annotated[str | None, Option("--cell", help="The cell's name, as in study.json.")] = None,
    index: Annotated[int | None, Option(help="Or its number from 0, for a job array.")] = None,
) -> None:
    """Run one cell, for a job array or a W&B sweep."""
    from kneeal.study.local import run_single

    run_single(given.over(context).read(), name=name, index=index)


@_app.command()
@with_option_groups
def sweep(
    context: typer.Context,
    given: StudyArguments,
    file: Annotated[Path, Option(help="Where to write the sweep.")] = Path("sweep.yaml"),
) -> None:
    """Write a W&B sweep of the same grid. W&B's own agent runs it."""
    from kneeal.files import write_atomic
    from kneeal.study.workspace import sweep_yaml

    given = given.over(context)
    read = given.read()
    options = ["--config", str(given.config), *(["--data", str(given.data)] if given.data else [])]
    options += ["--out", str(read.out), *(word for setting in given.settings or () for word in ("--set", setting))]
    write_atomic(file, sweep_yaml(read, options))
    print(f"wrote {file}: wandb sweep --project {read.name} {file}, then wandb agent with the id that it prints")


@_app.command()
@with_option_groups
def workspace(
    context: typer.Context,
    entity: Annotated[str, Option(help="W&B user or team that owns the project.")],
    given: StudyArguments,
) -> None:
    """Save a W&B workspace of the learning curves. They are means over the seeds with standard-error bands."""
    from kneeal.study.workspace import save_workspace

    print(f"saved {save_workspace(given.over(context).read(), entity)}")


@_app.command()
@with_option_groups
def status(context: typer.Context, given: StudyArguments) -> None:
    """Show which cells are finished, running, failed or waiting."""
    from kneeal.study.folder import show_grid

    print(show_grid(given.over(context).read()))


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
