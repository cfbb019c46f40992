"""Pictures of single knees in folders by split and grade, as most public copies of OAI's knees come."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kneeal.data.grades import N_GRADES
from kneeal.data.manifest import check_manifest, some
from kneeal.data.patches import PATCH_PX, cut_patch_pair, scale_intensities
from kneeal.data.prepared import refuse_occupied, write_prepared
from kneeal.errors import UserError
from kneeal.radiograph import RadiographError
from kneeal.radiograph.picture import read_codes

#: Width of the pictures of the public set: its tibial plateau, 77 mm on average, spans about 170 of 224 px.
ROI_MM = 101.0
#: In the mean picture of 500 knees of the public set the joint line is 8 mm below the center, 3 mm lower than in the
#: published pipeline.
JOINT_OFFSET_MM = 3.0
_SPLITS = ("train", "val", "test")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_NAME = re.compile(r"(?P<patient>.+?)_?(?P<side>[LR])")


@dataclass(frozen=True)
class FolderSummary:
    """What was prepared.

    Attributes:
        counts: Knees by (split, grade).
        notes: Decisions that the user should know.
    """

    counts: dict[tuple[str, int], int]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """A table of splits and grades, then the notes."""
        splits = sorted({split for split, _ in self.counts}, key=[*_SPLITS, ""].index)
        lines = ["split     " + "".join(f"{f'KL {g}':>7}" for g in range(N_GRADES)) + f"{'all':>7}"]
        for split in splits:
            row = [self.counts.get((split, grade), 0) for grade in range(N_GRADES)]
            lines.append(f"{split or '(open)':<10}" + "".join(f"{n:>7}" for n in (*row, sum(row))))
        return "\n".join([*lines, *self.notes])


@dataclass(frozen=True)
class _Picture:
    path: Path
    split: str
    grade: int
    patient: str
    side: str


def prepare_folder(
    source: Path,
    out: Path,
    *,
    roi_mm: float = ROI_MM,
    joint_offset_mm: float = JOINT_OFFSET_MM,
    test_split: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> FolderSummary:
    """Prepare `<split>/<grade>/<patient><L|R>.png`, or the same without split folders.

    The folders `train`, `val` and `test` become splits. Where there is no `test`, `val` becomes the test set, and
    the validation set is divided off the training patients when a run begins.

    Args:
        source: The folder.
        out: Where the data set goes.
        roi_mm: Width of the pictures in mm.
        joint_offset_mm: How far the joint line lies below its place in the published pipeline.
        test_split: Split folder that becomes the test set, instead of the rule above; not beside a folder `test`.
        progress: Called with 1 after each knee.

    Returns:
        Counts and decisions.

    Raises:
        UserError: There are no such pictures, some cannot be used or have a name of another form (all are looked
            at first), the scale is impossible, or `out` is occupied. Nothing is left half-written.
    """
    refuse_occupied(out)
    if not roi_mm > 0 or not np.isfinite(roi_mm):
        raise UserError(
            f"--roi-mm {roi_mm}", "the width of the pictures in mm, above 0", "measure it; 101 in the public set"
        )
    if not np.isfinite(joint_offset_mm):
        raise UserError(f"--joint-offset-mm {joint_offset_mm}", "an offset in mm", "measure it; 3 in the public set")
    if not source.is_dir():
        raise UserError(f"no folder {source}", "a folder of pictures by split and grade", "check the path")
    try:
        pictures, notes = _find(source)
    except OSError as error:
        raise UserError(
            f"cannot read the folder {error.filename}: {error.strerror}",
            "folders that can be read",
            "correct the permissions",
        ) from error
    splits = sorted({picture.split for picture in pictures})
    test = _choose_test(splits, test_split)
    if test == "val":
        notes.append(
            "val is the test set, since there is no other; a run divides its validation set off the training patients"
        )
    rename = {test: "test"} if test else {}
    rows = pd.DataFrame(
        {
            "knee_id": [f"{p.patient}_{p.side}" for p in pictures],
            "patient_id": [p.patient for p in pictures],
            "side": [p.side for p in pictures],
            "kl": [str(p.grade) for p in pictures],
            "path": [p.path.relative_to(source).as_posix() for p in pictures],
            "split": [rename.get(p.split, p.split) for p in pictures],
            "site": "",
        }
    )
    check_manifest(rows, str(source), places=list(rows["path"]))
    options = {"roi_mm": roi_mm, "joint_offset_mm": joint_offset_mm, "test_split": test}
    pairs = _patch_pairs(pictures, roi_mm, joint_offset_mm)
    write_prepared(out, rows, pairs, source="folder", options=options, progress=progress)
    counts = Counter(zip(rows["split"], rows["kl"].astype(int), strict=True))
    return FolderSummary({(str(split), int(grade)): n for (split, grade), n in counts.items()}, tuple(notes))


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


def _patch_pairs(pictures: Sequence[_Picture], roi_mm: float, joint_offset_mm: float) -> Iterator[NDArray[np.uint8]]:
    """Patch pairs in order; one complaint at the end, so that a user meets all bad pictures at once."""
    bad: list[str] = []
    for picture in pictures:
        try:
            yield _patch_pair(picture, roi_mm, joint_offset_mm)
        except UserError as error:
            bad.append(error.found)
            yield np.zeros((2, PATCH_PX, PATCH_PX), np.uint8)
    if bad:
        raise UserError(
            f"{len(bad)} of {len(pictures)} pictures cannot be used: {some(bad)}",
            "square gray pictures of one knee, about 101 mm wide in the public set",
            "replace or remove them; where the size is at fault, check --roi-mm",
        )


def _patch_pair(picture: _Picture, roi_mm: float, joint_offset_mm: float) -> NDArray[np.uint8]:
    image = read_gray(picture.path)
    height, width = image.shape
    if height != width:
        raise UserError(f"{picture.path} is not square ({width} x {height} px)", "a square picture", "crop it")
    try:
        return cut_patch_pair(scale_intensities(image), roi_mm / width, picture.side, joint_offset_mm=joint_offset_mm)
    except ValueError as error:
        raise UserError(f"{picture.path}: {error}", "a picture that holds both patches", "check --roi-mm") from error


def _find(source: Path) -> tuple[list[_Picture], list[str]]:
    names = {child.name for child in source.iterdir() if child.is_dir()}
    notes = (
        [f"auto_test is left out: {n} pictures of knees that test holds"] if (n := _count(source / "auto_test")) else []
    )
    folders = [(split, source / split) for split in _SPLITS if split in names] or [("", source)]
    if folders[0][0]:
        others = sorted(names - {*_SPLITS, "auto_test"})
        notes += [f"{name} is left out: {n} pictures" for name in others if (n := _count(source / name))]
    links = [path for _, folder in folders for path in folder.iterdir() if path.is_symlink() and path.is_dir()]
    notes += [f"{link.relative_to(source).as_posix()} is left out: a link to a folder" for link in links]
    pictures: list[_Picture] = []
    odd: list[str] = []
    for split, folder in folders:
        for path in _walk(folder):
            grade = path.parent.name
            name = _NAME.fullmatch(path.stem)
            if path.parent.parent != folder or not grade.isdigit() or int(grade) >= N_GRADES or name is None:
                odd.append(path.relative_to(source).as_posix())
            else:
                pictures.append(_Picture(path, split, int(grade), name["patient"], name["side"]))
    if odd:
        raise UserError(
            f"pictures in {source} that do not follow the layout: {some(odd)}",
            "<train|val|test>/<grade 0 to 4>/<patient><L|R>.png",
            "move or rename them",
        )
    if not pictures:
        raise UserError(
            f"no picture in {source}",
            "<train|val|test>/<grade 0 to 4>/<patient><L|R>.png",
            "check the path and the layout",
        )
    return pictures, notes


def _walk(folder: Path) -> Iterator[Path]:
    """Pictures below a folder in a fixed order, not following links to folders."""

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, onerror=fail):
        folders.sort()
        # Hidden files are no pictures: macOS leaves `._<name>.png` beside each in an archive.
        names = sorted(name for name in files if not name.startswith(".") and name.lower().endswith(_SUFFIXES))
        yield from (Path(parent) / name for name in names)


def _count(folder: Path) -> int:
    return sum(1 for _ in _walk(folder)) if folder.is_dir() else 0


def _choose_test(splits: list[str], wanted: str | None) -> str | None:
    if wanted is not None and wanted not in splits:
        raise UserError(
            f"--test-split {wanted}", f"one of the folders {', '.join(splits)}", "name a folder that is there"
        )
    if wanted not in (None, "test") and "test" in splits:
        raise UserError(
            f"--test-split {wanted} beside a folder test", "one test set", "leave it out, or move the folder test away"
        )
    if wanted is not None:
        return wanted
    return "test" if "test" in splits else "val" if "val" in splits and "train" in splits else None
