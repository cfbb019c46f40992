"""`kneeal prepare` and `kneeal demo-data`: prepared data sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kneeal.cli.options import with_option_groups
from kneeal.cli.prepare_archive import KneeArguments, Out, prepare
from kneeal.cli.program import app

if TYPE_CHECKING:
    from kneeal.prepare.pictures import FolderOptions


@app.command("demo-data")
def demo_data(
    out: Annotated[Path, typer.Option(help="Where to write it.")],
    knees: Annotated[int, typer.Option(help="Number of knees.", min=10)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed.", min=0)] = 0,
) -> None:
    """Write a prepared data set of synthetic knees."""
    from kneeal.data.synthetic.cohort import write_synthetic
    from kneeal.loggers.console import count_progress

    with count_progress(knees, "knees") as progress:
        write_synthetic(out, n_knees=knees, seed=seed, progress=progress)
    print(f"wrote {knees} synthetic knees to {out}")


@prepare.command("seal")
def seal(data: Annotated[Path, typer.Argument(help="A prepared data set.", metavar="DATA")]) -> None:
    """Renew the checksums of a manifest edited on purpose."""
    from kneeal.data.prepared import reseal

    changed = reseal(data)
    print(f"{data}: {'columns changed: ' + ', '.join(changed) if changed else 'nothing had changed'}; sealed")


@dataclass(frozen=True)
class PictureArguments:
    """How pictures of single knees are read."""

    pattern: Annotated[
        str | None,
        typer.Option(help="What paths say: a regular expression with the groups split, grade, patient, side."),
    ] = None
    roi_mm: Annotated[float | None, typer.Option(help="Width of the pictures in mm; 101 for square ones.")] = None
    mm_per_px: Annotated[float | None, typer.Option(help="Size of their pixels in mm, instead.")] = None
    joint_offset_mm: Annotated[
        float, typer.Option(help="How far the joint line lies below its place in the published pipeline, in mm.")
    ] = 3.0
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Of identical pictures keep one, none where grades differ.")
    ] = False
    drop_unusable: Annotated[
        bool, typer.Option("--drop-unusable", help="Leave out pictures that cannot be used, and name them.")
    ] = False


@prepare.command("folder")
@with_option_groups
def from_folder(
    source: Annotated[Path, typer.Argument(help="Folder of pictures of single knees.", metavar="SRC")],
    out: Out,
    knees: KneeArguments,
    pictures: PictureArguments,
) -> None:
    """Prepare pictures of single knees. <split>/<grade>/<patient><L|R>.png, any --pattern, or any --table."""
    from kneeal.loggers.console import count_progress
    from kneeal.prepare.folder import prepare_folder

    with count_progress(None, "knees") as progress:
        summary = prepare_folder(source, out, _options(knees, pictures), progress=progress)
    print(summary)


def _options(knees: KneeArguments, pictures: PictureArguments) -> FolderOptions:
    from kneeal.prepare.pictures import FolderOptions

    return FolderOptions(
        **vars(pictures),
        table=knees.table,
        columns=knees.columns,
        grades=knees.names,
        side=knees.side or "",
        ungraded=knees.ungraded,
    )
