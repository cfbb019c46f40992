"""`kneeal fit`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: kneeal fit --config frozen --data knees --set active.budget=300")(fit)


def fit(
    strategy: Annotated[str | None, typer.Option(help="A name from `kneeal strategies`, or file.py:Class.")] = None,
    config: Annotated[str | None, typer.Option(help="A YAML file, or a name: frozen, demo, paper.")] = None,
    data: Annotated[Path | None, typer.Option(help="Prepared data set.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; by default under runs/, named by the settings.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    ssl: Annotated[bool | None, typer.Option("--ssl/--no-ssl", help="Consistency regularization on or off.")] = None,
    devices: Annotated[int | None, typer.Option(help="Number of devices.")] = None,
    accelerator: Annotated[str | None, typer.Option(help="auto, cpu, gpu or mps.")] = None,
    init: Annotated[Path | None, typer.Option(help="File of weights that every fit starts from.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the run folder.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, any number of times.", metavar="KEY=VALUE")
    ] = None,
) -> None:
    """Run active learning with the grades in the manifest as the answers: the main job."""
    from kneeal import config as configuration

    flags: dict[str, Any] = {
        "active.strategy": strategy,
        "data.dir": None if data is None else str(data),
        "seed": seed,
        "training.init": None if init is None else str(init),
        "loss.consistency": ssl,
        "compute.devices": devices,
        "compute.accelerator": accelerator,
    }
    resolved = configuration.resolve(config, settings or (), flags)

    from kneeal.jobs.fit import run_fit

    run_fit(resolved, out, resume=resume)
