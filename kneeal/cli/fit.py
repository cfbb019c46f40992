"""`kneeal fit`: the main job."""

from pathlib import Path
from typing import Annotated

from typer import Option

from kneeal.cli.program import Data, RunArguments, Settings, app, with_option_groups


@app.command(epilog="Example: kneeal fit --config frozen --data knees --set active.budget=300")
@with_option_groups
def fit(
    given: RunArguments,
    config: Annotated[str | None, Option(help="A YAML file, or a name: frozen, demo, paper.")] = None,
    data: Data = None,
    out: Annotated[Path | None, Option(help="Run folder; by default under runs/, named by the settings.")] = None,
    devices: Annotated[int | None, Option(help="Number of devices.")] = None,
    init: Annotated[Path | None, Option(help="File of weights that every fit starts from.")] = None,
    resume: Annotated[bool, Option("--resume", help="Continue the run in the run folder.")] = False,
    settings: Settings = None,
) -> None:
    """Run active learning, with the manifest's grades as answers."""
    from kneeal import config as configuration

    flags = {
        **given.flags(data),
        "training.init": None if init is None else str(init),
        "compute.devices": devices,
    }
    resolved = configuration.resolve(config, settings or (), flags)

    from kneeal.jobs.fit import run_fit

    run_fit(resolved, out, resume=resume)
