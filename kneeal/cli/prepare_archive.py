"""`kneeal prepare oai | most | dicom`: archives of bilateral radiographs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kneeal.prepare.tasks import Plan

Out = Annotated[Path, typer.Option(help="Where to write the prepared data set.")]
Tables = Annotated[Path | None, typer.Option(help="Folder of the tables, where it is another.")]
Ungraded = Annotated[bool, typer.Option("--ungraded", help="Keep knees without a grade.")]
Landmarks = Annotated[Path | None, typer.Option(help="KNEEL's or a box table, or a folder of .pts; else the finder.")]
Corrections = Annotated[Path | None, typer.Option(help="CSV: knee_id, x_mm, y_mm, angle_deg, reject.")]
Pseudonymize = Annotated[Path | None, typer.Option(help="File with a key: patient ids become keyed hashes.")]
Markers = Annotated[str, typer.Option(help="Side markers: require, check or ignore.")]
LeastScore = Annotated[float, typer.Option(help="Knees below this score are set aside.", min=0, max=1)]
KeepOther = Annotated[bool, typer.Option("--keep-other", help="Keep the other knee of a film with one unusable.")]
MmPerPx = Annotated[float | None, typer.Option(help="Pixel size where the file has none.")]
Magnification = Annotated[float | None, typer.Option(help="Divides ImagerPixelSpacing; else from the header.")]
Voi = Annotated[bool, typer.Option("--voi/--no-voi", help="Apply the VOI window or LUT of the header.")]
Workers = Annotated[int | None, typer.Option(help="Processes; by default one a core.", min=0)]
WorkFolder = Annotated[Path | None, typer.Option("--work", help="Keep finished films here, for later runs.")]
SheetFilms = Annotated[int, typer.Option(help="Most films on sheet.html.", min=1)]


def register(family: typer.Typer) -> None:
    """Add the commands to `kneeal prepare`."""
    family.command("oai")(from_oai)
    family.command("most")(from_most)
    family.command("dicom")(from_dicom)


def from_oai(
    source: Annotated[Path, typer.Argument(help="Folder with contents.csv and the release folders.", metavar="SRC")],
    out: Out,
    tables: Tables = None,
    visit: Annotated[str, typer.Option(help="Visit: 00 (baseline), 01, 03, 05, 06, 08, 10.")] = "00",
    ungraded: Ungraded = False,
    landmarks: Landmarks = None,
    corrections: Corrections = None,
    pseudonymize: Pseudonymize = None,
    markers: Markers = "require",
    least_score: LeastScore = 0.5,
    keep_other: KeepOther = False,
    mm_per_px: MmPerPx = None,
    magnification: Magnification = None,
    voi: Voi = True,
    workers: Workers = None,
    work: WorkFolder = None,
    sheet_films: SheetFilms = 2000,
) -> None:
    """Prepare the Osteoarthritis Initiative: contents.csv, kxr_sq_bu00, enrollees."""
    from kneeal.prepare.oai import plan_oai

    plan = plan_oai(source, tables=tables, visit=visit, ungraded=ungraded)
    _prepare(plan, out, landmarks, corrections, pseudonymize, markers, least_score, keep_other, mm_per_px,
             magnification, voi, workers, work, sheet_films)  # fmt: skip


def from_most(
    source: Annotated[Path, typer.Argument(help="Folder of the films.", metavar="SRC")],
    out: Out,
    tables: Tables = None,
    visit: Annotated[str, typer.Option(help="Visit: 0 (baseline), 1, 2, 3, 5.")] = "0",
    view: Annotated[str, typer.Option(help="Folder name of the view: PA05, PA10 or PA15.")] = "PA10",
    ungraded: Ungraded = False,
    landmarks: Landmarks = None,
    corrections: Corrections = None,
    pseudonymize: Pseudonymize = None,
    markers: Markers = "require",
    least_score: LeastScore = 0.5,
    keep_other: KeepOther = False,
    mm_per_px: MmPerPx = None,
    magnification: Magnification = None,
    voi: Voi = True,
    workers: Workers = None,
    work: WorkFolder = None,
    sheet_films: SheetFilms = 2000,
) -> None:
    """Prepare the Multicenter Osteoarthritis Study: mostv01235xray, mostv0enroll."""
    from kneeal.prepare.most import plan_most

    plan = plan_most(source, tables=tables, visit=visit, view=view, ungraded=ungraded)
    _prepare(plan, out, landmarks, corrections, pseudonymize, markers, least_score, keep_other, mm_per_px,
             magnification, voi, workers, work, sheet_films)  # fmt: skip


def from_dicom(
    source: Annotated[Path, typer.Argument(help="A folder of radiographs, or a text file of paths.", metavar="SRC")],
    out: Out,
    table: Annotated[Path | None, typer.Option(help="Table of grades, one row a knee.")] = None,
    patient_column: Annotated[str, typer.Option()] = "patient",
    side_column: Annotated[str, typer.Option()] = "side",
    grade_column: Annotated[str, typer.Option()] = "grade",
    site_column: Annotated[str, typer.Option()] = "site",
    path_column: Annotated[str | None, typer.Option(help="Column with paths below SRC; else by PatientID.")] = None,
    ungraded: Ungraded = False,
    landmarks: Landmarks = None,
    corrections: Corrections = None,
    pseudonymize: Pseudonymize = None,
    markers: Markers = "require",
    least_score: LeastScore = 0.5,
    keep_other: KeepOther = False,
    mm_per_px: MmPerPx = None,
    magnification: Magnification = None,
    voi: Voi = True,
    workers: Workers = None,
    work: WorkFolder = None,
    sheet_films: SheetFilms = 2000,
) -> None:
    """Prepare any folder or list of bilateral radiographs with any table of grades."""
    from kneeal.prepare.dicom_folder import Columns, plan_dicom

    columns = Columns(patient_column, side_column, grade_column, site_column, path_column)
    plan = plan_dicom(source, table=table, columns=columns, ungraded=ungraded)
    _prepare(plan, out, landmarks, corrections, pseudonymize, markers, least_score, keep_other, mm_per_px,
             magnification, voi, workers, work, sheet_films)  # fmt: skip


def _prepare(
    plan: Plan,
    out: Path,
    landmarks: Path | None,
    corrections: Path | None,
    pseudonymize: Path | None,
    markers: str,
    least_score: float,
    keep_other: bool,
    mm_per_px: float | None,
    magnification: float | None,
    voi: bool,
    workers: int | None,
    work: Path | None,
    sheet_films: int,
) -> None:
    from kneeal.errors import UserError
    from kneeal.localizer.landmarks import LandmarkSource
    from kneeal.localizer.quality import MARKER_RULES
    from kneeal.loggers.console import count_progress
    from kneeal.prepare.corrections import read_corrections
    from kneeal.prepare.film_work import PrepareOptions
    from kneeal.prepare.pipeline import ArchiveOptions, prepare_archive
    from kneeal.prepare.pseudonyms import Pseudonyms
    from kneeal.radiograph import ReadOptions

    if markers not in MARKER_RULES:
        raise UserError(f"--markers {markers}", ", ".join(MARKER_RULES), "choose one of them")
    film = PrepareOptions(
        read=ReadOptions(mm_per_px=mm_per_px, magnification=magnification, apply_voi=voi),
        markers=markers,
        least_score=least_score,
        keep_other=keep_other,
    )
    options = ArchiveOptions(
        film, workers=(os.cpu_count() or 1) if workers is None else workers, work=work, sheet_films=sheet_films
    )
    with count_progress(len(plan.tasks), "films") as progress:
        summary = prepare_archive(
            plan,
            out,
            options,
            landmarks=LandmarkSource(landmarks) if landmarks else None,
            corrections=read_corrections(corrections) if corrections else None,
            pseudonyms=Pseudonyms.read(pseudonymize) if pseudonymize else None,
            progress=progress,
        )
    print(summary)
    print(f"look at {out / 'sheet.html'}")
