"""Pictures of single knees, in folders of any layout or named by a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kneeal.data.grades import N_GRADES
from kneeal.data.manifest import check_manifest
from kneeal.data.patches import PATCH_PX, cut_patch_pair, scale_intensities
from kneeal.data.prepared import refuse_occupied, write_prepared
from kneeal.errors import UserError
from kneeal.localizer.side import find_side
from kneeal.prepare.duplicates import without_duplicates
from kneeal.prepare.knee_table import KneeRow
from kneeal.prepare.pictures import ROI_MM, FolderOptions, find_files, find_rows
from kneeal.radiograph import RadiographError
from kneeal.radiograph.picture import read_codes
from kneeal.tables import some

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class FolderSummary:
    """What was prepared.

    Attributes:
        counts: Knees by (split, grade); grade None where it is not known.
        notes: Decisions that the user should know.
    """

    counts: Mapping[tuple[str, int | None], int]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """A table of splits and grades, then the notes."""
        splits = sorted({split for split, _ in self.counts}, key=[*_SPLITS, ""].index)
        grades = [*range(N_GRADES), *([None] if any(grade is None for _, grade in self.counts) else [])]
        lines = ["split     " + "".join(f"{'none' if g is None else f'KL {g}':>7}" for g in grades) + f"{'all':>7}"]
        for split in splits:
            row = [self.counts.get((split, grade), 0) for grade in grades]
            lines.append(f"{split or '(open)':<10}" + "".join(f"{n:>7}" for n in (*row, sum(row))))
        return "\n".join([*lines, *self.notes])


def prepare_folder(
    source: Path, out: Path, options: FolderOptions | None = None, *, progress: Callable[[int], None] | None = None
) -> FolderSummary:
    """Prepare pictures of single knees.

    What is known of each comes from the table, from the pattern, or from the layout
    `<split>/<grade>/<patient><L|R>.png`, with or without the folders train, val and test. Where there is no test set,
    val becomes it, and the validation set is taken from the training patients when a run begins.

    Args:
        source: The folder.
        out: Where the data set goes.
        options: What the pictures are.
        progress: Called with 1 after each knee.

    Returns:
        Counts and decisions.

    Raises:
        UserError: There are no such pictures, some cannot be used or have a name of another form (all are looked
            at first), the scale is impossible, or `out` is occupied. Nothing is left half-written.
    """
    refuse_occupied(out)
    options = options or FolderOptions()
    if not source.is_dir():
        raise UserError(f"no folder {source}", "a folder of pictures of single knees", "check the path")
    rows, notes = find_rows(source, options)
    files = find_files(source, rows)
    kept, duplicates = without_duplicates(rows, files, drop=options.drop_duplicates)
    rows, files = [rows[k] for k in kept], [files[k] for k in kept]
    rows, sides = _with_sides(rows, files, options)
    notes += [*duplicates, *sides]
    test = _choose_test(sorted({row.split for row in rows}), options.test_split)
    if test == "val":
        notes.append(
            "val is the test set, since there is no other; a run takes its validation set from the training patients"
        )
    if not all(row.patient for row in rows):
        notes.append(
            "no patient is known of some pictures: each counts as a patient of its own, so both knees of one person "
            "may be in two splits"
        )
    names = [path.relative_to(source).as_posix() for path in files]
    patients = [row.patient or Path(name).with_suffix("").as_posix() for row, name in zip(rows, names, strict=True)]
    patients = [patient.replace("/", "-") for patient in patients]
    frame = pd.DataFrame(
        {
            "knee_id": [f"{patient}_{row.side}" for patient, row in zip(patients, rows, strict=True)],
            "patient_id": patients,
            "side": [row.side for row in rows],
            "kl": ["" if row.grade is None else str(row.grade) for row in rows],
            "path": names,
            "split": ["test" if test and row.split == test else row.split for row in rows],
            "site": [row.site for row in rows],
        }
    )
    check_manifest(frame, str(source), places=[row.where for row in rows])
    recorded = {"roi_mm": options.roi_mm, "joint_offset_mm": options.joint_offset_mm, "test_split": test}
    if options.mm_per_px is None:
        recorded["roi_mm"] = options.roi_mm or ROI_MM
    else:
        recorded["mm_per_px"] = options.mm_per_px
    pairs = _patch_pairs(files, [row.side for row in rows], options)
    write_prepared(out, frame, pairs, source="folder", options=recorded, progress=progress)
    counts = Counter(zip(frame["split"], (row.grade for row in rows), strict=True))
    return FolderSummary(counts, tuple(notes))


def read_gray(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read a gray picture of 8 or 16 bit as it was saved; three equal channels are gray, and opacity is ignored.

    Raises:
        UserError: It cannot be read, is in color, or has one gray level only.
    """
    try:
        image = read_codes(path)
    except RadiographError as error:
        raise UserError(f"{path}: {error.found}", error.expected, error.cure) from None
    if image.min() == image.max():
        raise UserError(f"{path} is all of one gray", "a radiograph", "replace or remove it")
    return image


def _patch_pairs(files: Sequence[Path], sides: Sequence[str], options: FolderOptions) -> Iterator[NDArray[np.uint8]]:
    """Patch pairs in order; one complaint at the end, so that a user meets all bad pictures at once."""
    bad: list[str] = []
    for path, side in zip(files, sides, strict=True):
        try:
            yield _patch_pair(path, side, options)
        except UserError as error:
            bad.append(error.found)
            yield np.zeros((2, PATCH_PX, PATCH_PX), np.uint8)
    if bad:
        raise UserError(
            f"{len(bad)} of {len(files)} pictures cannot be used: {some(bad)}",
            "gray pictures of one knee at a known scale, square ones about 101 mm wide in the public set",
            "replace or remove them; where the size or shape is at fault, give --roi-mm or --mm-per-px",
        )


def _patch_pair(path: Path, side: str, options: FolderOptions) -> NDArray[np.uint8]:
    image = read_gray(path)
    height, width = image.shape
    if height != width and options.roi_mm is None and options.mm_per_px is None:
        raise UserError(f"{path} is not square ({width} x {height} px)", "a square picture", "crop it")
    scale = options.mm_per_px or (options.roi_mm or ROI_MM) / width
    try:
        return cut_patch_pair(scale_intensities(image), scale, side, joint_offset_mm=options.joint_offset_mm)
    except ValueError as error:
        raise UserError(f"{path}: {error}", "a picture that holds both patches", "check --roi-mm") from error


def _with_sides(
    rows: Sequence[KneeRow], files: Sequence[Path], options: FolderOptions
) -> tuple[list[KneeRow], list[str]]:
    """Each row with a side: its own, the one of the options, or the one that the picture shows."""
    unknown = [k for k, row in enumerate(rows) if not row.side]
    if not unknown:
        return list(rows), []
    if not options.side:
        raise UserError(
            f"no side for {len(unknown)} of {len(rows)} knees: {some(rows[k].where for k in unknown)}",
            "L or R in the table or path",
            "give --side R or L where all are of one side, or --side unknown to have it found on the picture",
        )
    sided = list(rows)
    for k in unknown:
        side = options.side
        if side == "unknown":
            try:
                side, _ = find_side(_patch_pair(files[k], "R", options))
            except UserError:
                side = "R"  # it is told among all pictures that cannot be used
        sided[k] = replace(rows[k], side=side)
    found = f"the side of {len(unknown)} knees was found on the picture, which is not always right"
    return sided, [found] if options.side == "unknown" else []


def _choose_test(splits: list[str], wanted: str | None) -> str | None:
    if wanted is not None and wanted not in splits:
        raise UserError(
            f"--test-split {wanted}", f"one of the splits {', '.join(splits)}", "name a split that is there"
        )
    if wanted not in (None, "test") and "test" in splits:
        raise UserError(
            f"--test-split {wanted} beside a split test", "one test set", "leave it out, or rename the split test"
        )
    if wanted is not None:
        return wanted
    return "test" if "test" in splits else "val" if "val" in splits and "train" in splits else None
