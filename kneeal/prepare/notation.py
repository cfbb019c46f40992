"""Grades, sides and splits as people write them."""

import re
import unicodedata
from collections.abc import Mapping

from kneeal.data.grades import N_GRADES
from kneeal.errors import UserError

_ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4}
#: What is written where there is no grade; 1.9, 8 and 9 are MOST's codes for "not gradable", "replaced", "missing".
_NO_GRADE = {
    "", "-", "--", "---", ".", "?", "x", "na", "n/a", "n.a.", "n.a", "nan", "none", "null", "nil", "missing", "unknown",
    "not gradable", "ungradable", "not graded", "ungraded", "tkr", "tka", "tja", "tep", "ktep", "uka", "ukr",
    "replacement", "knee replacement", "total knee replacement", "prosthesis", "arthroplasty", "8", "9", "1.9",
}  # fmt: skip
_GRADE = re.compile(
    # What stands before: KL, K-L, KLG, Kellgren-Lawrence, grade, stage, G, ...
    r"(?:(?:k(?:ellgren)?[\s\-/&]*(?:and\s*)?(?:l(?:awrence)?)?[\s_-]*)?(?:grade?|grado|grad|score|stage|stadium|g)?"
    r"(?<=[a-z])[\s_:=-]*)?"
    r"(?P<grade>iv|i{1,3}|\d+(?:[.,]\d+)?)"
    # What may follow: a label after a colon, or words in which no second grade occurs.
    r"(?:°|\s*:.*|\s*[-\u2013(=\s](?!.*\b(?:i{1,3}|iv)\b)\s*[^\W\d][^\d]*)?",
    re.IGNORECASE | re.DOTALL,
)
_RIGHT = {
    "r", "rt", "re", "1", "d", "dx", "dex", "right", "rechts", "rechte", "rechtes", "droit", "droite", "destra",
    "destro", "dextra", "dexter", "derecha", "derecho", "direita", "direito", "rechter", "prawe", "prawy", "höger",
    "oikea", "sag", "sağ", "правый", "правая", "п", "右",
}  # fmt: skip
_LEFT = {
    "l", "lt", "li", "2", "e", "g", "s", "i", "sx", "sin", "left", "links", "linke", "linkes", "linker", "gauche",
    "sinistra", "sinistro", "sinister", "izquierda", "izquierdo", "izq", "esquerda", "esquerdo", "lewe",
    "lewy", "vänster", "vasen", "sol", "левый", "левая", "л", "左",
}  # fmt: skip
_SPLITS = {
    "": "", "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


class UnreadableError(ValueError):
    """A cell that says something else than what its column holds."""


def plain(text: str) -> str:
    """The text in one form: full-width digits, ligatures and accents composed alike, single blanks, none around."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def grade_names(text: str) -> dict[str, int]:
    """What `--grades "Normal=0,Doubtful=1"` says: names in small letters to grades."""
    names: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.rpartition("=")
        if not name.strip() or value.strip() not in map(str, range(N_GRADES)):
            raise UserError(
                f"--grades {text!r}: {part!r}", "name=grade from 0 to 4, separated by commas", "write Normal=0,Mild=2"
            )
        names[plain(name).lower()] = int(value)
    return names


def read_grade(text: str, names: Mapping[str, int] | None = None) -> int | None:
    """A KL grade from 0 to 4; None where the cell marks it as missing.

    It may be written as `2`, `2.0`, `2,0`, `KL 2`, `grade 4`, `II`, `0 (normal)`, `2: Right`, or by one of the `names`,
    which are in small letters.

    Raises:
        UnreadableError: It is none of these.
    """
    text = plain(text)
    if names and text.lower() in names:
        return names[text.lower()]
    # SAS writes a missing value as a point and its label.
    if text.lower() in _NO_GRADE or re.fullmatch(r"\.[a-z]?\s*:.*", text, re.IGNORECASE):
        return None
    match = _GRADE.fullmatch(text)
    if match is None:
        raise UnreadableError(text)
    found = match["grade"].upper().replace(",", ".")
    value = _ROMAN[found] if found in _ROMAN else float(found)
    if value in (1.9, 8, 9):
        return None
    if value not in range(N_GRADES):
        raise UnreadableError(text)
    return int(value)


def read_side(text: str) -> str:
    """The side, "R" or "L", in the words of several languages or 1 (right), 2 (left); empty where it is missing.

    Raises:
        UnreadableError: The text is not known.
    """
    text = plain(text).lower().split(":")[0].removesuffix(".0")
    found = {"R" if word in _RIGHT else "L" for word in re.findall(r"[^\W_]+", text) if word in _RIGHT | _LEFT}
    if len(found) == 1:
        return found.pop()
    if text in ("", "-", "?", ".", "na", "n/a", "nan", "none", "unknown", "x"):
        return ""
    raise UnreadableError(text)


def read_split(text: str) -> str:
    """The split, "train", "val", "test" or "", from what is written.

    Raises:
        UnreadableError: The text is not known.
    """
    try:
        return _SPLITS[plain(text).lower()]
    except KeyError:
        raise UnreadableError(text) from None
