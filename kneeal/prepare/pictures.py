"""The pictures of a folder, and what a table, a pattern or the layout says of each; the pattern that would fit."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np

from kneeal.data.prepared import file_checksum
from kneeal.errors import UserError
from kneeal.prepare.paths import PICTURES, NamedFiles, walk_files
from kneeal.prepare.tables import FIELDS, KneeRow, make_rows, read_knee_table
from kneeal.tables import count, some

#: Width of the pictures of the public set: its tibial plateau, 77 mm on average, spans about 170 of 224 px.
ROI_MM = 101.0
#: In the mean picture of 500 knees of the public set the joint line is 8 mm below the center, 3 mm lower than in the
#: published pipeline.
JOINT_OFFSET_MM = 3.0
_SPLITS = ("train", "val", "test")
#: Which of identical pictures is kept.
_FIRST = ("test", "val", "train", "")
_LAYOUT = "<train|val|test>/<grade 0 to 4>/<patient><L|R>.png, or a --table or --pattern that says what is where"
#: The layout of most public copies of OAI's knees.
DEFAULT_PATTERN = r"^(?:(?P<split>train|val|test)/)?(?P<grade>[0-4])/(?P<patient>[^/]+?)_?(?P<side>[LR])\.[^./]+$"
#: A pattern is suggested that takes at least this share of the pictures, and of those the one that says most of them.
_FITS = 0.5
_WORTH = {"patient": 3, "grade": 3, "split": 1, "side": 1}
#: Paths on which patterns are compared before the best is tried on all.
_COMPARED = 1000
_NAMED = {"normal": 0, "healthy": 0, "none": 0, "doubtful": 1, "minimal": 2, "mild": 2, "moderate": 3, "severe": 4}
_SPLIT = r"(?P<split>(?i:train|training|val|valid|validation|test|testing))"
_DEEPER = r"/(?:[^/]+/)*"
_FILES = (
    r"(?P<patient>[^/]+?)[ _-]?(?P<side>[LR])\.[^./]+$",
    r"(?P<patient>[^/]+?)[ _-](?P<side>(?i:left|right))\.[^./]+$",
    r"(?P<side>(?i:left|right|l|r))[ _-](?P<patient>[^/]+?)\.[^./]+$",
    r"(?P<patient>\d{4,})[ _-]?(?P<side>[LR])[^/A-Za-z0-9][^/]*$",
    r"[^/]+$",
)


@dataclass(frozen=True)
class FolderOptions:
    """What the pictures are, and what is known of them."""

    roi_mm: float | None = None  #: Width of the pictures in mm; None: 101 mm, for square pictures alone.
    mm_per_px: float | None = None  #: Size of their pixels, instead.
    joint_offset_mm: float = JOINT_OFFSET_MM  #: How far the joint line lies below its place in the published pipeline.
    table: Path | None = None  #: Table with a row per picture.
    columns: Mapping[str, str | None] = field(default_factory=dict)  #: Names of its columns by field.
    pattern: str | None = None  #: What the paths say; see `compile_pattern`.
    grades: Mapping[str, int] = field(default_factory=dict)  #: Names of grades.
    side: str = ""  #: "R" or "L" for knees of which no side is known; "unknown": found on the picture.
    ungraded: bool = False  #: Whether knees without a grade are kept.
    drop_duplicates: bool = False  #: Whether of identical pictures one is kept; otherwise all are kept and reported.
    drop_unusable: bool = False  #: Whether pictures that cannot be used are left out; otherwise they are refused.

    def __post_init__(self) -> None:
        """Refuse an impossible size, and two options that contradict each other."""
        sizes = (("--roi-mm", self.roi_mm, 0.0), ("--mm-per-px", self.mm_per_px, 0.0),
                 ("--joint-offset-mm", self.joint_offset_mm, -np.inf))  # fmt: skip
        for name, value, least in sizes:
            if value is not None and not least < value < np.inf:
                expected = f"a number of mm{', above 0' if least == 0 else ''}"
                raise UserError(f"{name} {value}", expected, "measure it; for OAI's copies leave it out")
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
        rows, others = rows_by_pattern(names, compile_pattern(DEFAULT_PATTERN), str(source))
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


def without_duplicates(rows: list[KneeRow], source: Path, *, drop: bool) -> tuple[list[KneeRow], list[str]]:
    """The rows to keep, and notes on pictures that occur more than once: files of equal content.

    With `drop`, identical pictures are reduced to one (that of the test set, else of the validation set, else the
    first), and left out altogether if their grades differ; otherwise all are kept and reported.
    """
    files = [source / row.path for row in rows]
    sizes = Counter(file.stat().st_size for file in files)
    alike: defaultdict[str, list[int]] = defaultdict(list)
    for position, file in enumerate(files):
        if sizes[file.stat().st_size] > 1:
            alike[file_checksum(file)].append(position)
    groups = [group for group in alike.values() if len(group) > 1]
    if not groups:
        return rows, []
    torn = [group for group in groups if len({rows[k].split for k in group}) > 1]
    graded = [group for group in groups if len({rows[k].grade for k in group}) > 1]
    # Those that do harm first, each named by two of its files, which differ where any do.
    ranked = {
        group[0]: sorted(group, key=lambda k: (str(rows[k].grade), rows[k].split))
        for group in [*graded, *torn, *groups]
    }
    named = some((f"{rows[group[0]].where} = {rows[group[-1]].where}" for group in ranked.values()), 3)
    note = (
        f"{sum(map(len, groups))} files hold {count(len(groups), 'picture')} more than once "
        f"({len(torn)} of them in two splits, {len(graded)} under two grades): {named}"
    )
    if not drop:
        bad = "; the results would be too good or wrong" if torn or graded else ""
        return rows, [f"{note}{bad}; --drop-duplicates keeps one of each, and none where their grades differ"]
    kept = {min(group, key=lambda k: _FIRST.index(rows[k].split)) for group in groups if group not in graded}
    left_out = {k for group in groups for k in group} - kept
    return [row for k, row in enumerate(rows) if k not in left_out], [f"{note}; {len(left_out)} files are left out"]


def compile_pattern(text: str) -> re.Pattern[str]:
    """The pattern of `--pattern`."""
    expected = "a regular expression with the groups split, grade, patient, side, for example (?P<grade>[0-4])"
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UserError(f"--pattern {text!r}: {error}", expected, "correct it") from None
    others = sorted(set(pattern.groupindex) - set(FIELDS))
    if others or not pattern.groupindex:
        raise UserError(
            f"--pattern {text!r} with the groups {', '.join(others) or '(none)'}", expected, "rename or add groups"
        )
    return pattern


def rows_by_pattern(
    names: Sequence[str], pattern: re.Pattern[str], source: str, grades: Mapping[str, int] | None = None
) -> tuple[list[KneeRow], list[str]]:
    """The rows that the paths below a folder say, and the paths in which the pattern is found nowhere."""
    matches = {name: match for name in names if (match := pattern.search(name))}
    texts = (
        (name, {"path": name, **{field: text for field, text in match.groupdict().items() if text is not None}})
        for name, match in matches.items()
    )
    return make_rows(texts, source, grades), [name for name in names if name not in matches]


def suggest(names: Sequence[str]) -> tuple[str, int]:
    """Options of `kneeal prepare folder` for these paths, and how many they would take; empty where nothing fits."""
    compared = names[:: max(1, len(names) // _COMPARED)]
    ranked = []
    for order, (pattern, options) in enumerate(_candidates(compared)):
        fields = (match.groupdict().items() for match in _matches(pattern, compared))
        worth = sum(_WORTH[field] for known in fields for field, text in known if text is not None)
        ranked.append((-worth, order, pattern, options))
    for *_, pattern, options in sorted(ranked):
        found = _matches(pattern, names)
        knees = {(match["patient"], match["side"]) for match in found if "patient" in match.groupdict()}
        if found and len(found) >= _FITS * len(names) and (not knees or len(knees) == len(found)):
            return " ".join([f"--pattern '{pattern}'", *options]), len(found)
    return "", 0


def _matches(pattern: str, names: Sequence[str]) -> list[re.Match[str]]:
    return [match for name in names if (match := re.search(pattern, name))]


def _candidates(names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Patterns with the options that they need; of two that say the same the simpler first."""
    folders = {part for name in names for part in name.split("/")[:-1]}
    named = sorted({folder for folder in folders if folder.lower() in _NAMED}, key=lambda name: _NAMED[name.lower()])
    grades: list[tuple[str, list[str]]] = [
        (r"(?P<grade>[0-4])", []),
        (r"(?P<grade>(?i:kl|klg|grade|g)[ _-]*[0-4])", []),
        (r"(?P<grade>[0-4])[^/0-9][^/]*", []),
    ]
    if len(named) > 1:
        mapping = ",".join(f"{name}={_NAMED[name.lower()]}" for name in named)
        grades.append((f"(?P<grade>{'|'.join(map(re.escape, named))})", [f'--grades "{mapping}"']))
    for file in _FILES:
        side = [] if "<side>" in file else ["--side unknown"]
        for grade, options in grades:
            for parts in ((_SPLIT, grade), (grade, _SPLIT), (grade,)):
                yield r"(?:^|/)" + _DEEPER.join(parts) + _DEEPER + file, [*options, *side]
        yield rf"(?:^|/)[^/]*?{_SPLIT}[ _-](?P<grade>[0-4])(?![0-9])[^/]*{_DEEPER}{file}", side
        for split in (_SPLIT + _DEEPER, ""):
            if side:
                yield rf"(?:^|/){split}[^/]*?(?i:kl|grade)[ _-]*(?P<grade>[0-4])[^/0-9][^/]*$", side
            yield rf"(?:^|/){split}{file}", [*side, "--ungraded"]
    for file, (grade, options) in product(_FILES, grades):
        side = [] if "<side>" in file else ["--side unknown"]
        yield rf"(?:^|/)(?:{grade}{_DEEPER})?{file}", [*options, *side, "--ungraded"]
