"""`kneeal prepare` and `kneeal demo-data`: prepared data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kneeal.cli import prepare_archive


def register(app: typer.Typer) -> None:
    """Add the commands."""
    family = typer.Typer(
        help="Turn radiographs and tables into a prepared data set.", no_args_is_help=True, rich_markup_mode=None
    )
    family.command("seal")(seal)
    family.command("folder")(from_folder)
    prepare_archive.register(family)
    app.add_typer(family, name="prepare")
    app.command("demo-data")(demo_data)


def demo_data(
    out: Annotated[Path, typer.Option(help="Where to write it.")],
    knees: Annotated[int, typer.Option(help="Number of knees.", min=10)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed.", min=0)] = 0,
) -> None:
    """Write a prepared data set of synthetic knees."""
    from kneeal.data.synthetic import write_synthetic
    from kneeal.loggers.console import count_progress

    with count_progress(knees, "knees") as progress:
        write_synthetic(out, n_knees=knees, seed=seed, progress=progress)
    print(f"wrote {knees} synthetic knees to {out}")


def seal(data: Annotated[Path, typer.Argument(help="A prepared data set.", metavar="DATA")]) -> None:
    """Vouch for a manifest.csv that was edited on purpose."""
    from kneeal.data.prepared import reseal

    changed = reseal(data)
    print(f"{data}: {'columns changed: ' + ', '.join(changed) if changed else 'nothing had changed'}; sealed")


def from_folder(
    source: Annotated[Path, typer.Argument(help="<split>/<grade>/<patient><L|R>.png", metavar="SRC")],
    out: Annotated[Path, typer.Option(help="Where to write the prepared data set.")],
    roi_mm: Annotated[float, typer.Option(help="Width of the pictures in mm.")] = 101.0,
    joint_offset_mm: Annotated[
        float, typer.Option(help="How far the joint line lies below its place in the published pipeline, in mm.")
    ] = 3.0,
    test_split: Annotated[str | None, typer.Option(help="Split folder that is the test set.")] = None,
) -> None:
    """Prepare pictures of single knees that lie in folders by split and grade."""
    from kneeal.loggers.console import count_progress
    from kneeal.prepare import folder

    with count_progress(None, "knees") as progress:
        summary = folder.prepare_folder(
            source, out, roi_mm=roi_mm, joint_offset_mm=joint_offset_mm, test_split=test_split, progress=progress
        )
    print(summary)
