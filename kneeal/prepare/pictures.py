"""The pictures of a folder, and what a table, a pattern or the layout says of each."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from kneeal.errors import UserError
from kneeal.prepare.knee_table import KneeRow, read_knee_table
from kneeal.prepare.layout import DEFAULT, compile_pattern, rows_by_pattern, suggest
from kneeal.prepare.paths import PICTURES, NamedFiles, walk_files
from kneeal.tables import count, some

#: Width of the pictures of the public set: its tibial plateau, 77 mm on average, spans about 170 of 224 px.
ROI_MM = 101.0
#: In the mean picture of 500 knees of the public set the joint line is 8 mm below the center, 3 mm lower than in the
#: published pipeline.
JOINT_OFFSET_MM = 3.0
_SPLITS = ("train", "val", "test")
_LAYOUT = "<train|val|test>/<grade 0 to 4>/<patient><L|R>.png, or a --table or --pattern that says what is where"


@dataclass(frozen=True)
class FolderOptions:
    """What the pictures are, and what is known of them."""

    roi_mm: float | None = None  #: Width of the pictures in mm; None: 101 mm, for square pictures alone.
    mm_per_px: float | None = None  #: Size of their pixels, instead.
    joint_offset_mm: float = JOINT_OFFSET_MM  #: How far the joint line lies below its place in the published pipeline.
    test_split: str | None = None  #: Split that becomes the test set; by default test, else val.
    table: Path | None = None  #: Table with a row per picture.
    columns: Mapping[str, str | None] = field(default_factory=dict)  #: Names of its columns by field.
    pattern: str | None = None  #: What the paths say; see `kneeal.prepare.layout`.
    grades: Mapping[str, int] = field(default_factory=dict)  #: Names of grades.
    side: str = ""  #: "R" or "L" for knees of which no side is known; "unknown": found on the picture.
    ungraded: bool = False  #: Whether knees without a grade are kept.
    drop_duplicates: bool = False  #: Whether of identical pictures one is kept; otherwise all are kept and reported.
    drop_unusable: bool = False  #: Whether pictures that cannot be used are left out; otherwise they are refused.

    def __post_init__(self) -> None:
        """Refuse an impossible size, and two options that contradict each other."""
        for name, value in (("--roi-mm", self.roi_mm), ("--mm-per-px", self.mm_per_px)):
            if value is not None and not (value > 0 and np.isfinite(value)):
                raise UserError(
                    f"{name} {value}", "a size in mm, above 0", "measure it; --roi-mm is 101 in OAI's copies"
                )
        if not np.isfinite(self.joint_offset_mm):
            raise UserError(
                f"--joint-offset-mm {self.joint_offset_mm}", "an offset in mm", "measure it; 3 in the public set"
            )
        for one, other in (("roi_mm", "mm_per_px"), ("table", "pattern")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                names = f"--{one} and --{other}".replace("_", "-")
                raise UserError(names, "one of them", "leave one out")


def find_rows(source: Path, options: FolderOptions) -> tuple[list[KneeRow], list[str]]:
    """What is known of each picture that is to be used, with its path below the folder; and notes."""
    rows, notes = _known(source, options)
    graded = [row for row in rows if options.ungraded or row.grade is not None]
    if not graded:
        raise UserError(f"no grade for any of {len(rows)} knees", "a KL grade from 0 to 4", "--ungraded keeps them")
    if len(graded) < len(rows):
        left_out = count(len(rows) - len(graded), "knee")
        notes.append(f"left out without a grade: {left_out}; --ungraded keeps such knees")
    named = NamedFiles(source)
    found = [replace(row, path=named.find(row.path)[0]) for row in graded]
    bad = [f"{row.path!r} in {row.where}" for row, file in zip(graded, found, strict=True) if not file.path]
    if bad:
        raise UserError(
            f"{len(bad)} of {len(graded)} pictures are not below {source}: {some(bad)}",
            "paths below SRC, or names that occur once there",
            "check SRC and --path-column, or remove these rows",
        )
    return found, notes


def _known(source: Path, options: FolderOptions) -> tuple[list[KneeRow], list[str]]:
    if options.table is not None:
        rows = read_knee_table(options.table, options.columns, needed=("path",), grades=options.grades)
        return rows, []
    names = _pictures(source)
    if options.pattern is not None:
        rows, others = rows_by_pattern(names, compile_pattern(options.pattern), str(source), options.grades)
        notes = [f"left out by --pattern: {count(len(others), 'picture')}: {some(others)}"] if others else []
    else:
        names, notes = _of_splits(source, names)
        rows, others = rows_by_pattern(names, compile_pattern(DEFAULT), str(source))
    if others and (options.pattern is None or not rows):
        fits, taken = suggest(names)
        raise UserError(
            f"pictures in {source} that do not follow the {'layout' if options.pattern is None else 'pattern'}: "
            f"{some(others)}",
            _LAYOUT,
            f"{taken} of {len(names)} would be taken with {fits}" if fits else "move or rename them, or give a --table",
        )
    if not rows:
        raise UserError(f"no picture in {source}", _LAYOUT, "check the path and the layout")
    return rows, notes


def _pictures(source: Path) -> list[str]:
    """Names of the pictures below a folder."""

    def fail(error: OSError) -> None:
        raise UserError(
            f"cannot read the folder {error.filename}: {error.strerror}",
            "folders that can be read",
            "correct the permissions",
        ) from error

    found = [path for path in walk_files(source, fail) if path.suffix.lower() in PICTURES]
    return [path.relative_to(source).as_posix() for path in found]


def _of_splits(source: Path, names: list[str]) -> tuple[list[str], list[str]]:
    """The pictures in the folders train, val and test, where there are such, and what is left out beside them."""
    tops = {child.name for child in source.iterdir() if child.is_dir()}
    splits = [split for split in _SPLITS if split in tops]
    folders = [source / split for split in splits] or [source]
    links = [path for folder in folders for path in folder.iterdir() if path.is_symlink() and path.is_dir()]
    notes = [f"{link.relative_to(source).as_posix()} is left out: a link to a folder" for link in links]
    if not splits:
        return names, notes
    others = Counter(name.split("/", 1)[0] for name in names if "/" in name and name.split("/", 1)[0] not in splits)
    notes = [f"{name} is left out: {count(n, 'picture')}" for name, n in sorted(others.items())] + notes
    return [name for name in names if name.split("/", 1)[0] in splits], notes
