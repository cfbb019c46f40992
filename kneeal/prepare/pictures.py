"""The pictures of a folder, and what a table, a pattern or the layout says of each; the pattern that would fit."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path, PurePosixPath

import numpy as np

from kneeal.errors import UserError, count, some
from kneeal.prepare.notation import GRADE_WORDS, NUMERALS, SIDE_WORDS, UnreadableError, option_for_grades, read_grade
from kneeal.prepare.paths import PICTURE_SUFFIXES, NamedFiles, walk_files
from kneeal.prepare.sameness import tell_same
from kneeal.prepare.tables import FIELDS, KneeRow, make_rows, read_knee_table

#: Width of the pictures of the public set: its tibial plateau, 77 mm on average, spans about 170 of 224 px.
ROI_MM = 101.0
#: In the mean picture of 500 knees of the public set the joint line is 8 mm below the center, 3 mm lower than in the
#: published pipeline.
JOINT_OFFSET_MM = 3.0
#: Which of several files of one picture is kept.
_FIRST = ("test", "val", "train", "")
_LAYOUT = "<train|val|test>/<grade 0 to 4>/<patient><L|R>.png, or a --table or --pattern that says what is where"
_SPLIT = r"(?P<split>(?i:train|training|val|valid|validation|test|testing))"
#: The layout of most public copies of OAI's knees.
DEFAULT_PATTERN = rf"^(?:{_SPLIT}/)?(?P<grade>[0-4])/(?P<patient>[^/]+?)_?(?<![A-Za-z])(?P<side>[LR])\.[^./]+$"
#: A pattern is suggested that takes at least this share of the pictures, and of those the one that says most of them.
_FITS = 0.4
_WORTH = {"patient": 4, "grade": 3, "split": 1, "side": 0}
#: Paths on which patterns are compared before the best is tried on all.
_COMPARED = 1000


@dataclass(frozen=True)
class FolderOptions:
    """What the pictures are, and what is known of them."""

    roi_mm: float | None = None  #: Width of the pictures in mm; None: 101 mm, for square pictures alone.
    mm_per_px: float | None = None  #: Size of their pixels, instead.
    joint_offset_mm: float = JOINT_OFFSET_MM  #: How far the joint line lies below its place in the published pipeline.
    table: Path | None = None  #: Table with a row per picture.
    columns: Mapping[str, str | None] = field(default_factory=dict)  #: Names of its columns by field.
    pattern: str | None = None  #: What the paths say; see `compile_pattern`.
    grades: Mapping[str, int | None] = field(default_factory=dict)  #: Names of grades.
    side: str = ""  #: "R" or "L" for knees of which no side is known; "unknown": found on the picture.
    ungraded: bool = False  #: Whether knees without a grade are kept.
    drop_duplicates: bool = False  #: Whether of files of one picture one is kept; otherwise all are reported.
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
    if options.table is not None:
        there = {named.find(row.path)[0] for row in rows}
        if others := [name for name in _pictures(source) if name not in there]:
            notes.append(
                f"left out, since the table does not name them: {count(len(others), 'picture')}: {some(others)}"
            )
    bad = [f"{row.path!r} in {row.where}" for row, file in zip(graded, found, strict=True) if not file.path]
    if bad:
        raise UserError(
            f"{len(bad)} of {len(graded)} pictures are not below {source}: {some(bad)}",
            "paths below SRC, or names that occur once there",
            "check SRC and --path-column; where the folders differ, leave the file name alone in the table",
        )
    counts = Counter(row.path for row in found)
    twice = [f"{row.path} in {row.where}" for row in found if counts[row.path] > 1]
    if twice:
        expected = "one row per picture, since it shows one knee"
        raise UserError(f"pictures named more than once: {some(twice)}", expected, "remove or correct these rows")
    return found, notes


def _known(source: Path, options: FolderOptions) -> tuple[list[KneeRow], list[str]]:
    if options.table is not None:
        needed = ("path",) if options.ungraded else ("path", "grade")
        return read_knee_table(options.table, options.columns, needed=needed, grades=options.grades), []
    every = names = _pictures(source)
    if options.pattern is not None:
        rows, others = rows_by_pattern(names, compile_pattern(options.pattern), str(source), options.grades)
        notes = [f"left out by --pattern: {count(len(others), 'picture')}: {some(others)}"] if others else []
    else:
        names, notes = _of_splits(source, names)
        rows, others = rows_by_pattern(names, compile_pattern(DEFAULT_PATTERN), str(source))
    if others and (options.pattern is None or not rows):
        fits, taken = suggest(every, side=options.side, ungraded=options.ungraded)
        raise UserError(
            f"pictures in {source} that do not follow the {'layout' if options.pattern is None else 'pattern'}: "
            f"{some(others)}",
            _LAYOUT,
            f"{taken} of {len(every)} would be taken with {fits}" if fits else "move or rename them, or give a --table",
        )
    if not rows:
        raise UserError(f"no picture in {source}", _LAYOUT, "check the path and the layout")
    return rows, notes


def _pictures(source: Path) -> list[str]:
    errors: list[OSError] = []
    found = [path for path in walk_files(source, errors.append) if path.suffix.lower() in PICTURE_SUFFIXES]
    if errors:
        unread = some(f"cannot read the folder {error.filename}: {error.strerror}" for error in errors)
        raise UserError(unread, "folders that can be read", "correct the permissions")
    return [path.relative_to(source).as_posix() for path in found]


def _of_splits(source: Path, names: list[str]) -> tuple[list[str], list[str]]:
    """The pictures in the folders train, val and test, where there are such, and what is left out beside them."""
    tops = {child.name for child in source.iterdir() if child.is_dir()}
    splits = [name for name in sorted(tops) if re.fullmatch(_SPLIT, name)]
    folders = [source / split for split in splits] or [source]
    links = [path for folder in folders for path in folder.iterdir() if path.is_symlink() and path.is_dir()]
    notes = [f"{link.relative_to(source).as_posix()} is left out: a link to a folder" for link in links]
    if not splits:
        return names, notes
    others = Counter(name.split("/", 1)[0] for name in names if "/" in name and name.split("/", 1)[0] not in splits)
    notes = [f"{name} is left out: {count(n, 'picture')}" for name, n in sorted(others.items())] + notes
    return [name for name in names if name.split("/", 1)[0] in splits], notes


def without_duplicates(
    rows: Sequence[KneeRow], groups: Sequence[Sequence[int]], *, drop: bool
) -> tuple[list[int], list[str]]:
    """Positions of the rows to keep, and a note on the groups of `same_knees`.

    With `drop`, those that are one picture are reduced to one (that of the test set, else of the validation set, else
    the first), and left out altogether if their grades differ; otherwise all are kept and reported.
    """
    left_out: set[int] = set()
    for group in groups if drop else ():
        left_out.update(group)
        if len({rows[k].grade for k in group} - {None}) < 2:
            left_out.remove(min(group, key=lambda k: _FIRST.index(rows[k].split)))
    n, pictures = sum(map(len, groups)), count(len(groups), "picture")
    told = tell_same([[rows[k] for k in group] for group in groups])
    kept = "--drop-duplicates keeps one of each, and none where their grades differ"
    done = f"{len(left_out)} files are left out" if drop else kept
    notes = [f"{n} files hold {pictures} more than once {told}; {done}"] if groups else []
    return [k for k in range(len(rows)) if k not in left_out], notes


def compile_pattern(text: str) -> re.Pattern[str]:
    """The pattern of `--pattern`."""
    expected = "a regular expression with the groups split, grade, patient, side, for example (?P<grade>[0-4])"
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UserError(f"--pattern {text!r}: {error}", expected, "correct it") from None
    others = sorted(set(pattern.groupindex) - set(FIELDS))
    if others:
        raise UserError(f"--pattern {text!r} with the groups {', '.join(others)}", expected, "rename these groups")
    return pattern


def rows_by_pattern(
    names: Sequence[str], pattern: re.Pattern[str], source: str, grades: Mapping[str, int | None] | None = None
) -> tuple[list[KneeRow], list[str]]:
    """The rows that the paths below a folder say, and the paths in which the pattern is found nowhere."""
    matches = {name: match for name in names if (match := pattern.search(name))}
    texts = (
        (name, {"path": name, **{field: text for field, text in match.groupdict().items() if text is not None}})
        for name, match in matches.items()
    )
    rows = make_rows(texts, source, grades, "the pattern or these paths")
    return rows, [name for name in names if name not in matches]


def suggest(names: Sequence[str], *, side: str = "", ungraded: bool = False) -> tuple[str, int]:
    """Options for these paths beside those given, and how many they would take; empty where nothing fits."""
    compared = names[:: max(1, len(names) // _COMPARED)]
    splits, grades, knees = _parts(compared)
    found = {
        part: {k: match.groupdict() for k, name in enumerate(compared) if (match := re.match(part, name))}
        for part in [*splits, *grades, *knees]
    }
    # Where no split is known, some pictures may be without a grade.
    for part, option in list(grades.items()):
        if not option and any(not _is_grade(fields.get("grade", "")) for fields in found[part].values()):
            del grades[part]
    choices = [*product(splits, grades, knees, [False]), *product([""], filter(None, grades), knees, [True])]
    ranked = []
    for order, (split, grade, knee, optional) in enumerate(choices):
        taken = set(found[split]) & set(found[knee]) & set(found["" if optional else grade])
        known = [fields for part in (split, grade, knee) for k, fields in found[part].items() if k in taken]
        worth = sum(_WORTH[field] for fields in known for field in fields)
        patients = {found[knee][k].get("patient") for k in taken}
        if len(taken) >= _FITS / 2 * len(compared):
            ranked.append((-worth, len(patients), order))
    for *_, order in sorted(ranked):
        split, grade, knee, optional = choices[order]
        parts = (split, f"(?:{grade})?" if optional else grade, knee)
        pattern = "^" + "".join(f"(?={part})" for part in parts if part)
        matches = [match.groupdict() for name in names if (match := re.match(pattern, name))]
        ids = {(match["patient"], match["side"]) for match in matches if "patient" in match}
        if matches and len(matches) >= _FITS * len(names) and (not ids or len(ids) == len(matches)):
            options = [f"--pattern '{pattern}'", grades[grade]]
            options += ["--side unknown"] * ("<side>" not in pattern and not side)
            options += ["--ungraded"] * ((optional or not grade) and not ungraded)
            return " ".join(filter(None, options)), len(matches)
    return "", 0


def _is_grade(text: str) -> bool:
    try:
        read_grade(text)
    except UnreadableError:
        return False
    return True


def _parts(names: Sequence[str]) -> tuple[list[str], dict[str, str], list[str]]:
    """Patterns for split, grade (with the option that they need), and patient and side; the simpler first."""
    words = {word for name in names for word in re.findall(r"[^\W\d_]+", name.lower())}
    splits = [rf"(?:.*/)?{_SPLIT}/", rf"(?:.*?[/ _-])?(?<!auto[ _-]){_SPLIT}[/ _0-9-]", ""]
    scale = "(?i:klg?|grade|grado?|grau|stade|stadium|class|label|level|stage|g)"
    number = f"(?:[0-9]|(?i:{'|'.join(NUMERALS)}))"
    label = f"(?i:{'|'.join(sorted(words & set(GRADE_WORDS))) or 'normal'})"
    grades = dict.fromkeys([
        "(?:.*/)?(?P<grade>[0-9])/",
        f"(?:.*/)?{scale}[ _-]*(?P<grade>{number})/",
        f"(?:.*/)?(?P<grade>[0-9][ _.-]*{label})[^/0-9]*/",
        f"(?:.*/)?(?P<grade>{label}[ _.-]*[0-9])/",
        "(?:.*/)?(?P<grade>0|I{1,3}|IV)/",
        "(?:.*[/ _-])?(?i:klg?|grade)[ _-]*(?P<grade>[0-9])(?![0-9])",
        rf"(?:.*?[/ _-])?{_SPLIT.replace('P<split>', ':')}[ _-](?P<grade>[0-9])(?![0-9])",
    ], "")  # fmt: skip
    named, option = option_for_grades({folder for name in names for folder in PurePosixPath(name).parts[:-1]})
    if named:
        grades[f"(?:.*/)?(?P<grade>(?i:{'|'.join(map(re.escape, named))}))/"] = option
    sides = sorted(word for word in words & set(SIDE_WORDS) if SIDE_WORDS[word] and len(word) > 1)
    if {SIDE_WORDS[word] for word in sides} != {"R", "L"}:  # such as sag, which may be a plane
        sides = [word for word in sides if word in ("left", "right")]
    # Single letters of other languages count where names end in these two alone.
    ends = {match[1].lower() for name in names if (match := re.search(r"[ _.-]([A-Za-z])\.[^./]+$", name))}
    letters = next((pair for pair in ("dg", "de", "di", "ds") if ends == set(pair)), "lr")
    side = f"(?P<side>(?i:{'|'.join([*sides, f'[{letters}]'])}))"
    end = r"\.[^./]+$"
    knees = [
        rf"(?:.*/)?(?P<patient>[^/]+?)[ _.-]?(?<![A-Za-z])(?P<side>[LRlr])(?:[ _-]+(?i:klg?|grade)[ _-]*[0-4])?{end}",
        rf"(?:.*/)?(?P<patient>[^/]+?)[ _.-]{side}(?:[ _-]+(?i:klg?|grade)[ _-]*[0-4])?{end}",
        rf"(?:.*/)?{side}[ _-](?P<patient>[^/]+?){end}",
        r"(?:.*[^0-9])?(?P<patient>[0-9]{4,})[ _.-]?(?P<side>[LR])(?![A-Za-z0-9])[^/]*$",
        rf"(?:.*/)?(?P<patient>[^/]+)/{side}(?:[ _-][^/]*)?{end}",
        rf"(?:.*/)?{side}/(?:[^/]+/)*(?P<patient>[^/]+?){end}",
        rf"(?:.*/)?(?P<patient>[^/]+)/{side}/[^/]+$",
        rf"(?:.*/)?(?P<patient>[^/]+?)[ _.-]{side}[ _.-][^/]*$",
    ]
    # A patient may have several pictures of a knee, each of which then counts by itself, with its side.
    knees += [*(part.replace("P<patient>", ":") for part in knees), rf"(?:.*/)?{side}/", ""]
    return splits, {**grades, "": ""}, knees
