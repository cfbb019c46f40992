"""What the paths of pictures say of their knees, by a pattern; and the pattern that would fit a folder."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from kneeal.errors import UserError
from kneeal.prepare.knee_table import FIELDS, KneeRow, make_rows

#: The layout of most public copies of OAI's knees.
DEFAULT = r"^(?:(?P<split>train|val|test)/)?(?P<grade>[0-4])/(?P<patient>[^/]+?)_?(?P<side>[LR])\.[^./]+$"
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
