"""`kneeal study`: the grid of a paper's table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kneeal.errors import UserError

if TYPE_CHECKING:
    from kneeal.study.grid import Study

_app = typer.Typer(help="Run a grid of settings and seeds.", rich_markup_mode=None)

Config = Annotated[Path | None, typer.Option("--config", help="Study file, for example configs/table2.yaml.")]
Data = Annotated[Path | None, typer.Option(help="Prepared data set.")]
Out = Annotated[Path | None, typer.Option(help="Study folder; by default runs/NAME.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="section.key=value in every cell.", metavar="KEY=VALUE")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_app, name="study")


@_app.callback(invoke_without_command=True)
def study(
    context: typer.Context,
    config: Config = None,
    data: Data = None,
    out: Out = None,
    workers: Annotated[int | None, typer.Option(help="Cells at once; by default what the machine holds.")] = None,
    gpu_fraction: Annotated[float, typer.Option(help="Share of a GPU that a cell takes.")] = 1.0,
    settings: Settings = None,
) -> None:
    """Run every cell of a study file that is not finished; a killed study goes on where it was."""
    if context.invoked_subcommand is not None:
        context.obj = (config, data, out, settings)
        return
    from kneeal.study.local import LocalStudy, find_resources
    from kneeal.study.show import show_grid

    read = _read(config, data, out, settings)
    resources = find_resources(read, workers=workers, gpu_fraction=gpu_fraction)
    where = f"{len(resources.gpus)} GPUs" if resources.gpus else "no GPU"
    _say(
        f"{read.name}: {len(read.cells)} cells, {resources.workers} at once with {resources.threads} threads each, "
        f"{where}; study folder {read.out}"
    )
    statuses = LocalStudy(read, resources, say=_say).run()
    print(show_grid(read))
    if any(status.state != "finished" for status in statuses.values()):
        sys.exit(1)


@_app.command()
def status(
    context: typer.Context, config: Config = None, data: Data = None, out: Out = None, settings: Settings = None
) -> None:
    """Show the grid: which cells are finished, running, failed or waiting."""
    from kneeal.study.show import show_grid

    before = context.obj or (None, None, None, None)
    print(show_grid(_read(config or before[0], data or before[1], out or before[2], settings or before[3])))


def _read(config: Path | None, data: Path | None, out: Path | None, settings: list[str] | None) -> Study:
    from kneeal.study.grid import read_study

    if config is None:
        raise UserError("no study file", "a YAML file", "give --config FILE, for example --config configs/table2.yaml")
    return read_study(config, settings=settings or (), data=None if data is None else str(data), out=out)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
