"""`kneeal prepare` and `kneeal demo-data`: prepared data sets."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from kneeal.cli.program import app, with_option_groups

if TYPE_CHECKING:
    from kneeal.prepare.tasks import Plan

prepare = typer.Typer(
    help="Turn radiographs and tables into a prepared data set.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(prepare, name="prepare")

Out = Annotated[Path, Option(help="Where to write the prepared data set.")]
Tables = Annotated[Path | None, Option(help="Folder of the tables; by default SRC.")]
Ungraded = Annotated[bool, Option("--ungraded", help="Keep knees without a grade.")]


class Side(StrEnum):
    """What `--side` takes."""

    R = "R"
    L = "L"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class KneeArguments:
    """What is known about the knees, from a table or for all of them."""

    table: Annotated[Path | None, Option(help="Table with one row per knee: CSV, XLSX or SAS.")] = None
    patient_column: Annotated[str | None, Option(help="Column of patient ids; by default patient.")] = None
    side_column: Annotated[str | None, Option(help="Column of sides; by default side.")] = None
    grade_column: Annotated[str | None, Option(help="Column of grades; by default grade.")] = None
    split_column: Annotated[str | None, Option(help="Column of splits; by default split.")] = None
    site_column: Annotated[str | None, Option(help="Column of sites; by default site.")] = None
    path_column: Annotated[str | None, Option(help="Column of paths below SRC; by default path.")] = None
    grades: Annotated[str, Option(help='Names of grades, x for none: "Normal=0,Doubtful=1,unclear=x".')] = ""
    side: Annotated[
        Side | None,
        Option(help="Side, if nothing else gives it; unknown: find it on the picture.", case_sensitive=False),
    ] = None
    ungraded: Ungraded = False

    @property
    def columns(self) -> dict[str, str | None]:
        """The names of the columns by field."""
        from kneeal.prepare.tables import FIELDS

        return {field: getattr(self, f"{field}_column") for field in FIELDS}

    @property
    def names(self) -> dict[str, int | None]:
        """The names of grades."""
        from kneeal.prepare.notation import grade_names

        return grade_names(self.grades)


@dataclass(frozen=True)
class ArchiveArguments:
    """How any archive of radiographs is prepared."""

    landmarks: Annotated[
        Path | None, Option(help="KNEEL's table, a table of boxes, or a folder of .pts; by default, the localizer.")
    ] = None
    corrections: Annotated[Path | None, Option(help="CSV: knee_id, x_mm, y_mm, angle_deg, reject.")] = None
    pseudonymize: Annotated[Path | None, Option(help="File with a key: patient ids become keyed hashes.")] = None
    markers: Annotated[
        str, Option(help="Side markers: require, check or ignore; or other letters than R/L, such as D/E.")
    ] = "check"
    min_score: Annotated[float, Option(help="Knees below this score are rejected.", min=0, max=1)] = 0.7
    keep_other: Annotated[bool, Option("--keep-other", help="Keep one knee if the other cannot be used.")] = False
    mm_per_px: Annotated[float | None, Option(help="Pixel size in mm of files that give none.")] = None
    magnification: Annotated[float | None, Option(help="Divides ImagerPixelSpacing; by default the header's.")] = None
    voi: Annotated[bool, Option("--voi/--no-voi", help="Apply the VOI window or LUT of the header.")] = True
    workers: Annotated[int | None, Option(help="Processes; by default one per core.", min=0)] = None
    work: Annotated[Path | None, Option(help="Keep finished radiographs here, for later runs.")] = None


@prepare.command("oai")
@with_option_groups
def from_oai(
    source: Annotated[Path, Argument(help="Folder with contents.csv and the release folders.", metavar="SRC")],
    out: Out,
    archive: ArchiveArguments,
    tables: Tables = None,
    visit: Annotated[str, Option(help="Visit: 00 (baseline), 01, 03, 05, 06, 08, 10.")] = "00",
    ungraded: Ungraded = False,
) -> None:
    """Prepare the Osteoarthritis Initiative. It needs contents.csv, kxr_sq_bu00 and enrollees."""
    from kneeal.prepare.oai import plan_oai

    _prepare(plan_oai(source, tables=tables, visit=visit, ungraded=ungraded), out, archive)


@prepare.command("most")
@with_option_groups
def from_most(
    source: Annotated[Path, Argument(help="Folder of the radiographs.", metavar="SRC")],
    out: Out,
    archive: ArchiveArguments,
    tables: Tables = None,
    visit: Annotated[str, Option(help="Visit: 0 (baseline), 1, 2, 3, 5.")] = "0",
    view: Annotated[str, Option(help="Folder name of the view: PA05, PA10 or PA15.")] = "PA10",
    ungraded: Ungraded = False,
) -> None:
    """Prepare the Multicenter Osteoarthritis Study. It needs mostv01235xray and mostv0enroll."""
    from kneeal.prepare.most import plan_most

    _prepare(plan_most(source, tables=tables, visit=visit, view=view, ungraded=ungraded), out, archive)


@prepare.command("dicom")
@with_option_groups
def from_dicom(
    source: Annotated[Path, Argument(help="A folder of radiographs, or a text file of paths.", metavar="SRC")],
    out: Out,
    archive: ArchiveArguments,
    knees: KneeArguments,
) -> None:
    """Prepare radiographs of one or two knees. Any folder or list, with any table of grades."""
    from kneeal.prepare.dicom_folder import plan_dicom

    plan = plan_dicom(source, table=knees.table, columns=knees.columns, grades=knees.names, ungraded=knees.ungraded)
    _prepare(plan, out, archive, knees.side or "")


@dataclass(frozen=True)
class PictureArguments:
    """How pictures of single knees are read."""

    pattern: Annotated[
        str | None, Option(help="Regular expression for paths, with the groups split, grade, patient, side.")
    ] = None
    roi_mm: Annotated[float | None, Option(help="Width of the pictures in mm; by default 101 for square ones.")] = None
    mm_per_px: Annotated[float | None, Option(help="Pixel size in mm, instead of --roi-mm.")] = None
    joint_offset_mm: Annotated[
        float, Option(help="How far the joint line lies below its place in the published pipeline, in mm.")
    ] = 3.0
    drop_duplicates: Annotated[
        bool, Option("--drop-duplicates", help="Keep one of files that hold one picture, none if their grades differ.")
    ] = False
    drop_unusable: Annotated[
        bool, Option("--drop-unusable", help="Leave out pictures that cannot be used, and name them.")
    ] = False


@prepare.command("folder")
@with_option_groups
def from_folder(
    source: Annotated[Path, Argument(help="Folder of pictures of single knees.", metavar="SRC")],
    out: Out,
    knees: KneeArguments,
    pictures: PictureArguments,
) -> None:
    """Prepare pictures of single knees. <split>/<grade>/<patient><L|R>.png, any --pattern, or any --table."""
    from kneeal.loggers.console import count_progress
    from kneeal.prepare.folder import prepare_folder
    from kneeal.prepare.pictures import FolderOptions

    options = FolderOptions(
        **vars(pictures),
        table=knees.table,
        columns=knees.columns,
        grades=knees.names,
        side=knees.side or "",
        ungraded=knees.ungraded,
    )
    with count_progress(None, "knees") as progress:
        print(prepare_folder(source, out, options, progress=progress))


@app.command("demo-data")
def demo_data(
    out: Annotated[Path, Option(help="Where to write it.")],
    knees: Annotated[int, Option(help="Number of knees.", min=10)] = 2000,
    seed: Annotated[int, Option(help="Seed.", min=0)] = 0,
) -> None:
    """Write a prepared data set of synthetic knees."""
    from kneeal.data.synthetic.cohort import write_synthetic
    from kneeal.loggers.console import count_progress

    with count_progress(knees, "knees") as progress:
        write_synthetic(out, n_knees=knees, seed=seed, progress=progress)
    print(f"wrote {knees} synthetic knees to {out}")


@prepare.command("checksum")
def checksum(data: Annotated[Path, Argument(help="A prepared data set.", metavar="DATA")]) -> None:
    """Renew the checksums of a manifest edited on purpose."""
    from kneeal.data.prepared import renew_checksums

    changed = renew_checksums(data)
    print(
        f"{data}: {'columns changed: ' + ', '.join(changed) if changed else 'nothing had changed'}; checksums renewed"
    )


def _prepare(plan: Plan, out: Path, archive: ArchiveArguments, side: str = "") -> None:
    from kneeal.localizer.landmarks import LandmarkSource
    from kneeal.localizer.quality import SelectionRules, marker_rule
    from kneeal.loggers.console import count_progress
    from kneeal.prepare.pipeline import prepare_archive, read_key
    from kneeal.prepare.tasks import read_corrections
    from kneeal.prepare.work import PrepareOptions
    from kneeal.radiograph import ReadOptions

    options = PrepareOptions(
        read=ReadOptions(archive.mm_per_px, archive.magnification, archive.voi),
        select=SelectionRules(marker_rule(archive.markers), archive.min_score, archive.keep_other, side),
    )
    with count_progress(len(plan.tasks), "radiographs") as progress:
        summary = prepare_archive(
            plan,
            out,
            options,
            workers=(os.cpu_count() or 1) if archive.workers is None else archive.workers,
            work=archive.work,
            landmarks=LandmarkSource(archive.landmarks) if archive.landmarks else None,
            corrections=read_corrections(archive.corrections) if archive.corrections else None,
            key=read_key(archive.pseudonymize) if archive.pseudonymize else None,
            progress=progress,
        )
    print(summary)
    print(f"look at {out / 'sheet.html'}")
