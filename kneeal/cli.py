"""The command line. Thin: everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kneeal import __version__
from kneeal.errors import UserError

app = typer.Typer(
    name="kneeal",
    help="Grade knee osteoarthritis on radiographs with few expert labels.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
prepare_app = typer.Typer(
    help="Turn radiographs and tables into a prepared data set.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(prepare_app, name="prepare")


def main() -> None:
    """Run a command; a user's mistake is one message and exit status 2."""
    try:
        app()
    except UserError as error:
        # Lightning runs this command once more for every further device; one message is enough.
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"kneeal: {error}", file=sys.stderr)
        sys.exit(2)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"kneeal {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
def fit(
    strategy: Annotated[str | None, typer.Option(help="Who asks; see `kneeal strategies`.")] = None,
    config: Annotated[str | None, typer.Option(help="A YAML file, or a name: demo, paper.")] = None,
    data: Annotated[Path | None, typer.Option(help="Prepared data set.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; by default under runs/, named by the settings.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    ssl: Annotated[bool | None, typer.Option("--ssl/--no-ssl", help="Consistency regularization on or off.")] = None,
    devices: Annotated[int | None, typer.Option(help="Number of devices.")] = None,
    accelerator: Annotated[str | None, typer.Option(help="auto, cpu, gpu or mps.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the run folder.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, any number of times.", metavar="KEY=VALUE")
    ] = None,
) -> None:
    """Run active learning with the grades of the manifest as the oracle: the main job."""
    from kneeal import config as configuration

    flags: dict[str, Any] = {
        "active.strategy": strategy,
        "data.dir": None if data is None else str(data),
        "seed": seed,
        "loss.consistency": ssl,
        "compute.devices": devices,
        "compute.accelerator": accelerator,
    }
    resolved = configuration.resolve(config, settings or (), flags)

    from kneeal.job import run_fit

    run_fit(resolved, out, resume=resume)


@app.command()
def strategies() -> None:
    """List the strategies, what they need, and where they come from."""
    from kneeal import acquisition

    for info in acquisition.describe_all():
        options = ", ".join(f"{key}={value}" for key, value in info.options.items())
        needs = [info.posterior.name.lower(), *(["features"] if info.needs_features else [])]
        print(
            f"{info.name}\n    {info.summary}\n    needs: {', '.join(needs)}   options: {options or 'none'}\n"
            f"    source: {info.source}"
        )


@app.command("demo-data")
def demo_data(
    out: Annotated[Path, typer.Option(help="Where to write it.")],
    knees: Annotated[int, typer.Option(help="Number of knees.", min=10)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed.", min=0)] = 0,
) -> None:
    """Write a prepared data set of synthetic knees."""
    from kneeal.console import count_progress
    from kneeal.data.synthetic import write_synthetic

    with count_progress(knees, "knees") as progress:
        write_synthetic(out, n_knees=knees, seed=seed, progress=progress)
    print(f"wrote {knees} synthetic knees to {out}")


@prepare_app.command("seal")
def prepare_seal(data: Annotated[Path, typer.Argument(help="A prepared data set.", metavar="DATA")]) -> None:
    """Vouch for a manifest.csv that was edited on purpose."""
    from kneeal.data.prepared import reseal

    changed = reseal(data)
    print(f"{data}: {'columns changed: ' + ', '.join(changed) if changed else 'nothing had changed'}; sealed")


@prepare_app.command("folder")
def prepare_folder(
    source: Annotated[Path, typer.Argument(help="<split>/<grade>/<patient><L|R>.png", metavar="SRC")],
    out: Annotated[Path, typer.Option(help="Where to write the prepared data set.")],
    roi_mm: Annotated[float, typer.Option(help="Width of the pictures in mm.")] = 101.0,
    joint_offset_mm: Annotated[
        float, typer.Option(help="How far the joint line lies below its place in the published pipeline, in mm.")
    ] = 3.0,
    test_split: Annotated[str | None, typer.Option(help="Split folder that is the test set.")] = None,
) -> None:
    """Prepare pictures of single knees that lie in folders by split and grade."""
    from kneeal.console import count_progress
    from kneeal.data import folder

    with count_progress(None, "knees") as progress:
        summary = folder.prepare_folder(
            source, out, roi_mm=roi_mm, joint_offset_mm=joint_offset_mm, test_split=test_split, progress=progress
        )
    print(summary)
