"""Pictures of single knees, in folders of any layout or named by a table."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kneeal.data.manifest import check_manifest
from kneeal.data.patches import PATCH_PX, cut_patch_pair, scale_intensities
from kneeal.data.prepared import refuse_occupied, write_leftovers, write_prepared
from kneeal.errors import UserError, count, some
from kneeal.files import check_folder, disk_errors
from kneeal.localizer.pose import find_side
from kneeal.prepare.outputs import REJECTED, formula_safe, write_rejected
from kneeal.prepare.pictures import ROI_MM, FolderOptions, find_rows, without_duplicates
from kneeal.prepare.sameness import fingerprint, same_knees
from kneeal.prepare.summary import FolderSummary
from kneeal.prepare.tables import KneeRow
from kneeal.prepare.tasks import Rejection
from kneeal.radiograph import RadiographError
from kneeal.radiograph.picture import read_codes


def prepare_folder(
    source: Path, out: Path, options: FolderOptions | None = None, *, progress: Callable[[int], None] = lambda n: None
) -> FolderSummary:
    """Prepare pictures of single knees.

    What is known of each comes from the table, from the pattern, or from the layout
    `<split>/<grade>/<patient><L|R>.png`, with or without the folders train, val and test. Where there is no test set,
    val becomes it, and the validation set is taken from the training patients when a run begins.

    Raises:
        UserError: There are no such pictures, some have a name of another form or cannot be used (all are looked at,
            and rejected.csv in `out` names them), the scale is impossible, or `out` is occupied.
    """
    refuse_occupied(out)
    options = options or FolderOptions()
    check_folder(source, "a folder of pictures of single knees")
    rows, notes = find_rows(source, options)
    rows, sides = _with_sides(rows, options)
    notes += sides
    splits = {row.split for row in rows}
    test = "test" if "test" in splits else "val" if {"val", "train"} <= splits else None
    if not (sides or options.drop_unusable or options.drop_duplicates):
        _manifest(options.table or source, rows, test)  # what is wrong with it is told before the pictures are read
    rejected: list[Rejection] = []
    usable: list[KneeRow] = []
    prints: list[NDArray[np.float16]] = []
    roomy = next(folder for folder in out.absolute().parents if folder.is_dir())
    with disk_errors(out), TemporaryFile(dir=roomy) as pairs:
        for row in rows:
            try:
                pair, side = _patch_pair(source / row.path, row.side, options)
            except UserError as error:
                rejected.append(Rejection(row.path, row.patient, row.side, "unusable", error.found))
            else:
                pairs.write(pair.tobytes())
                prints.append(fingerprint(pair))
                usable.append(replace(row, side=side))
            progress(1)
        if rejected and not (usable and options.drop_unusable):
            write_leftovers(out, lambda folder: write_rejected(folder, rejected))
            raise UserError(
                f"{len(rejected)} of {len(rows)} pictures cannot be used: {some(r.detail for r in rejected)}; "
                f"all are in {out / REJECTED}",
                "gray pictures of one knee at a known scale, square ones about 101 mm wide in the public set",
                "where the size or shape is at fault, give --roi-mm or --mm-per-px; else replace them"
                + (", or leave them out with --drop-unusable" if usable else ""),
            )

        def saved(position: int) -> NDArray[np.uint8]:
            shape = (2, PATCH_PX, PATCH_PX)
            pairs.seek(position * math.prod(shape))
            return np.frombuffer(pairs.read(math.prod(shape)), np.uint8).reshape(shape)

        kept, duplicates = without_duplicates(usable, same_knees(prints, saved), drop=options.drop_duplicates)
        usable, notes = [usable[k] for k in kept], duplicates + notes
        if rejected:
            notes.append(f"left out because unusable: {count(len(rejected), 'picture')}, named in rejected.csv")
        if test == "val":
            notes.append(
                "val is the test set, since there is no other; a run takes its validation set from the training "
                "patients"
            )
        if unknown := [row.where for row in usable if not row.patient]:
            notes.append(
                f"no patient is known of {len(unknown)} of {len(usable)} pictures ({some(unknown, 2)}): each counts as "
                "a patient of its own, so both knees of one person may be in two splits"
            )
        frame = _manifest(options.table or source, usable, test)
        size: dict[str, float | None] = {"roi_mm": options.roi_mm or ROI_MM}
        if options.mm_per_px is not None:
            size = {"roi_mm": None, "mm_per_px": options.mm_per_px}
        write_prepared(
            out,
            frame,
            map(saved, kept),
            source="folder",
            options={**size, "joint_offset_mm": options.joint_offset_mm, "test_split": test},
            more=(lambda folder: write_rejected(folder, rejected)) if rejected else None,
        )
    counts = Counter(zip(frame["split"], (row.grade for row in usable), strict=True))
    return FolderSummary(counts, tuple(notes))


def read_gray(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read a gray picture of 8 or 16 bit as it was saved; three equal channels are gray, and opacity is ignored.

    Raises:
        UserError: It cannot be read, is in color, or has one gray level only.
    """
    try:
        image = read_codes(path)
    except RadiographError as error:
        raise error.within(str(path)) from None
    if image.min() == image.max():
        raise UserError(f"{path} is all of one gray", "a radiograph", "replace or remove it")
    return image


def _manifest(source: Path, rows: Sequence[KneeRow], test: str | None) -> pd.DataFrame:
    patients = [(row.patient or PurePosixPath(row.path).with_suffix("").as_posix()).replace("/", "-") for row in rows]
    frame = pd.DataFrame(
        {
            "knee_id": [f"{patient}_{row.side}" for patient, row in zip(patients, rows, strict=True)],
            "patient_id": patients,
            "side": [row.side for row in rows],
            "kl": ["" if row.grade is None else str(row.grade) for row in rows],
            "path": [formula_safe(row.path) for row in rows],
            "split": ["test" if test and row.split == test else row.split for row in rows],
            "site": [row.site for row in rows],
        }
    )
    check_manifest(frame, str(source), places=[row.where for row in rows])
    return frame


def _patch_pair(path: Path, side: str, options: FolderOptions) -> tuple[NDArray[np.uint8], str]:
    """The patch pair of a picture and its side, found on it where it is "unknown"."""
    image = read_gray(path)
    height, width = image.shape
    if height != width and options.roi_mm is None and options.mm_per_px is None:
        raise UserError(f"{path} is not square ({width} x {height} px)", "a square picture", "crop it")
    scale = options.mm_per_px or (options.roi_mm or ROI_MM) / width
    try:
        pair = cut_patch_pair(
            scale_intensities(image), scale, "L" if side == "L" else "R", joint_offset_mm=options.joint_offset_mm
        )
    except ValueError as error:
        found = f"{path}: {str(error).rstrip('.')}"
        raise UserError(found, "a picture that holds both patches", "check --roi-mm") from error
    if side != "unknown":
        return pair, side
    side = find_side(pair)
    # The other side's patches are these in the other order.
    return (pair if side == "R" else pair[::-1]), side


def _with_sides(rows: Sequence[KneeRow], options: FolderOptions) -> tuple[list[KneeRow], list[str]]:
    """Each row with a side, its own or that of the options, and a note where that is "unknown"."""
    without = [row.where for row in rows if not row.side]
    if without and not options.side:
        raise UserError(
            f"no side for {len(without)} of {len(rows)} knees: {some(without)}",
            "L or R in the table or path",
            "name its column with --side-column, or give --side R or L where all are of one side, or --side unknown to "
            "have it found on the picture",
        )
    sided = [replace(row, side=row.side or options.side) for row in rows]
    found = f"the side of {len(without)} knees was found on the picture, which is not always right"
    return sided, [found] if without and options.side == "unknown" else []
