"""`kneeal study`: the grid of a paper's table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kneeal.cli.program import app
from kneeal.errors import UserError

if TYPE_CHECKING:
    from kneeal.study.folder import CellStatus
    from kneeal.study.grid import Study

_app = typer.Typer(
    help="Run a grid of settings and seeds.",
    epilog="Example: kneeal study --config few_labels --data knees",
    rich_markup_mode=None,
)
app.add_typer(_app, name="study")

Config = Annotated[Path | None, typer.Option("--config", help="A study file, or a name: table2, few_labels, ...")]
Data = Annotated[Path | None, typer.Option(help="Prepared data set.")]
Out = Annotated[Path | None, typer.Option(help="Study folder; by default runs/NAME.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="section.key=value in every cell.", metavar="KEY=VALUE")
]


@_app.callback(invoke_without_command=True)
def study(
    context: typer.Context,
    config: Config = None,
    data: Data = None,
    out: Out = None,
    workers: Annotated[int | None, typer.Option(help="Cells at once; by default what the machine holds.")] = None,
    gpu_fraction: Annotated[float, typer.Option(help="Share of a GPU that a cell takes.")] = 1.0,
    ray: Annotated[str | None, typer.Option(help="Run on a Ray cluster: auto, or its address.")] = None,
    cell_gpus: Annotated[float | None, typer.Option(help="With --ray: GPUs of a cell, fractions allowed.")] = None,
    cell_cpus: Annotated[float, typer.Option(help="With --ray: CPUs of a cell.")] = 1.0,
    settings: Settings = None,
) -> None:
    """Run every cell of a study file that is not finished; a killed study goes on where it was."""
    if context.invoked_subcommand is not None:
        context.obj = (config, data, out, settings)
        return
    from kneeal.study.folder import check_data
    from kneeal.study.local import LocalStudy, find_resources
    from kneeal.tables import count

    read = _read(config, data, out, settings)
    if ray is not None:
        from kneeal.study.ray_cluster import run_on_ray

        _conclude(read, run_on_ray(read, ray, log=_log, gpus=cell_gpus, cpus=cell_cpus))
        return
    check_data(read)
    resources = find_resources(read, workers=workers, gpu_fraction=gpu_fraction)
    where = count(len(resources.gpus), "GPU") if resources.gpus else "no GPU"
    _log(
        f"{read.name}: {count(len(read.cells), 'cell')}, {resources.workers} at once with "
        f"{count(resources.threads, 'thread')} each, "
        f"{where}; study folder {read.out}"
    )
    _conclude(read, LocalStudy(read, resources, log=_log).run())


@_app.command()
def cell(
    context: typer.Context,
    config: Config = None,
    data: Data = None,
    out: Out = None,
    name: Annotated[str | None, typer.Option("--cell", help="The cell's name, as in study.json.")] = None,
    index: Annotated[int | None, typer.Option(help="Or its number from 0, for a job array.")] = None,
    settings: Settings = None,
) -> None:
    """Run one cell, for a job array or a W&B sweep."""
    from kneeal.study.single import run_single

    run_single(_read(*_given(context, config, data, out, settings)), name=name, index=index)


@_app.command()
def sweep(
    context: typer.Context,
    config: Config = None,
    data: Data = None,
    out: Out = None,
    file: Annotated[Path, typer.Option(help="Where to write the sweep.")] = Path("sweep.yaml"),
    settings: Settings = None,
) -> None:
    """Write a W&B sweep of the same grid. W&B's own agent runs it."""
    from kneeal.files import write_atomic
    from kneeal.study.single import sweep_yaml

    config, data, out, settings = _given(context, config, data, out, settings)
    read = _read(config, data, out, settings)
    options = ["--config", str(config), *(["--data", str(data)] if data else []), "--out", str(read.out)]
    for setting in settings or ():
        options += ["--set", setting]
    write_atomic(file, sweep_yaml(read, options))
    print(f"wrote {file}: wandb sweep --project {read.name} {file}, then wandb agent with the id that it prints")


@_app.command()
def workspace(
    context: typer.Context,
    entity: Annotated[str, typer.Option(help="W&B user or team that owns the project.")],
    config: Config = None,
    data: Data = None,
    settings: Settings = None,
) -> None:
    """Save a W&B workspace of the learning curves. They are means over the seeds with standard-error bands."""
    from kneeal.study.workspace import save_workspace

    print(f"saved {save_workspace(_read(*_given(context, config, data, None, settings)), entity)}")


@_app.command()
def status(
    context: typer.Context, config: Config = None, data: Data = None, out: Out = None, settings: Settings = None
) -> None:
    """Show which cells are finished, running, failed or waiting."""
    from kneeal.study.folder import show_grid

    print(show_grid(_read(*_given(context, config, data, out, settings))))


def _given(
    context: typer.Context, config: Path | None, data: Path | None, out: Path | None, settings: list[str] | None
) -> tuple[Path | None, Path | None, Path | None, list[str] | None]:
    """The options of a subcommand, or else those given before its name."""
    before = context.obj or (None, None, None, None)
    return config or before[0], data or before[1], out or before[2], settings or before[3]


def _read(config: Path | None, data: Path | None, out: Path | None, settings: list[str] | None) -> Study:
    from kneeal.study.grid import read_study

    if config is None:
        raise UserError("no study file", "a YAML file", "give --config FILE, for example --config table2")
    return read_study(config, settings=settings or (), data=None if data is None else str(data), out=out)


def _conclude(read: Study, statuses: dict[str, CellStatus]) -> None:
    from kneeal.study.folder import show_grid

    print(show_grid(read))
    if any(status.state != "finished" for status in statuses.values()):
        sys.exit(1)


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
