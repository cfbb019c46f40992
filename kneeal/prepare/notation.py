"""Grades, sides and splits as people write them."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files

from kneeal.data.grades import N_GRADES
from kneeal.errors import UserError
from kneeal.tables import finite, normalize

NUMERALS = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4}
_LISTS = tomllib.loads(files("kneeal.prepare").joinpath("words.toml").read_text("utf-8"))
#: Words of grades, sides and splits, and what they mean.
GRADE_WORDS, SIDE_WORDS, _SPLITS = (
    {str(word): str(meaning) for meaning, words in _LISTS[table].items() for word in words}
    for table in ("grades", "sides", "splits")
)
_VALUES = {word: int(meaning) for word, meaning in GRADE_WORDS.items() if meaning != "any"} | NUMERALS
_GRADE = re.compile(
    # What stands before: KL, K-L, KLG, Kellgren-Lawrence, grade, stage, G, ...
    r"(?:(?:k(?:ellgren)?[\s\-/&.]*(?:and\s*)?(?:l(?:awrence)?)?[\s._-]*)?"
    r"(?:(?:grade?|grado|grad|grau|graad|score|stage|stade|stadium|class|gr?)\.?)?(?<=[a-z.])[\s_:=-]*)?"
    rf"(?P<grade>{'|'.join(sorted(NUMERALS, reverse=True))}|\d+(?:[.,]\d+)?)(?P<rest>.*)",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"^\d+[\s.:()_-]*|[\s.:()_-]*\d+$|\)$")


class UnreadableError(ValueError):
    """A cell that says something else than what its column holds."""


def grade_names(text: str) -> dict[str, int | None]:
    """What `--grades "Normal=0,Doubtful=1,unclear=x"` says: names in small letters to grades, None for x."""
    names: dict[str, int | None] = {}
    end = 0
    while text[end:].strip():
        part = re.compile(r"\s*([^=]*[^=\s])\s*=\s*([0-4x])\s*(?:,|$)").match(text, end)
        name = normalize(part[1]).lower() if part else ""
        if part is None or name in names:
            raise UserError(
                f"--grades {text!r}: {text[end:].strip()!r}",
                f"each name once, as name=grade from 0 to {N_GRADES - 1}, or name=x for a missing grade",
                'write "Normal=0,Mild=2"',
            )
        names[name] = None if part[2] == "x" else int(part[2])
        end = part.end()
    return names


def option_for_grades(texts: Iterable[str]) -> tuple[list[str], str]:
    """The texts among these that name a grade, and `--grades` for them; nothing where two mean the same.

    A number beside a word, as in `1 (normal)`, belongs to another scale, and the word counts.
    """
    meant = {text.lower(): (_VALUES.get(_NUMBERED.sub("", text.lower())), text) for text in sorted(texts)}
    named = sorted((value, text) for value, text in meant.values() if value is not None and not set(text) & set("=,"))
    if not len(named) == len(dict(named)) > 1:
        return [], ""
    mapping = ",".join(f"{text}={value}" for value, text in named)
    return [text for _, text in named], f'--grades "{mapping}"'


def read_grade(text: str, names: Mapping[str, int | None] | None = None) -> int | None:
    """A KL grade from 0 to 4; None where the cell marks it as missing.

    It may be written as `2`, `2.0`, `2,0`, `KL 2`, `grade 4`, `II`, `two`, `0 (normal)`, or by one of the `names`,
    which are in small letters.

    Raises:
        UnreadableError: It is none of these.
    """
    text = re.sub(r"^\(([^()]*)\)$", r"\1", normalize(text))
    if names and text.lower() in names:
        return names[text.lower()]
    # SAS writes a missing value as a point and its label.
    if text.lower() in (*_LISTS["missing"], *_LISTS["ungraded"]) or re.fullmatch(
        r"\.[a-z]?\s*:.*", text, re.IGNORECASE
    ):
        return None
    # A word and a number, such as Moderate3, are read in the other order, too.
    match = _GRADE.fullmatch(text) or _GRADE.fullmatch(re.sub(r"^([^\W\d_]\D*)(\d)$", r"\2 \1", text))
    if match is None:
        raise UnreadableError(text)
    number, rest = match["grade"].lower().replace(",", "."), match["rest"].lower()
    value = finite(NUMERALS.get(number, number))
    # MOST's codes for "not gradable", "replaced", "missing", and what is common for the last.
    if value in (1.9, 8, 9, 99) and re.match(r"\s*([:=]|$)", rest):
        return None
    words = re.split(r"[\s°.:=,;()_\u2013\u2014-]+", rest)
    if value is None or value not in range(N_GRADES) or rest.endswith(("=", ",", ";", "_", "-")):
        raise UnreadableError(text)
    if not all(_fits(word, value) for word in words):
        raise UnreadableError(text)
    return int(value)


def _fits(word: str, grade: float) -> bool:
    """Whether a word beside a grade says nothing else; from mild on, a word may mean one less."""
    meaning = GRADE_WORDS.get(word, "" if word else "any")
    if not meaning:
        return finite(NUMERALS.get(word, word)) == grade
    return meaning == "any" or 0 <= int(meaning) - grade <= (meaning >= "2")


def read_side(text: str) -> str:
    """The side, "R" or "L", in the words of several languages or 1 (right), 2 (left); empty where it is missing.

    Raises:
        UnreadableError: The text is not known.
    """
    text = normalize(text).lower().removesuffix(".0")
    if text in _LISTS["missing"]:
        return ""
    text_by_words = re.sub(r"^[12]\s*(?:[:=]|$)", lambda code: f"{'r' if code[0][0] == '1' else 'l'} ", text)
    found = sides_of(re.split(r"[\s_.,:()-]+", text_by_words))
    if found not in ({"R"}, {"L"}):
        raise UnreadableError(text)
    return found.pop()


def sides_of(words: Iterable[str]) -> set[str]:
    """The sides "R" and "L" that words in small letters say, and the words that say something else."""
    return {SIDE_WORDS.get(word, word) for word in words} - {""}


def read_split(text: str) -> str:
    """The split, "train", "val", "test" or "", from what is written.

    Raises:
        UnreadableError: The text is not known.
    """
    if (split := _SPLITS.get(normalize(text).lower())) is None:
        raise UnreadableError(text)
    return split
