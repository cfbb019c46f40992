"""Corrections of what the localizer saw, by a person."""

from dataclasses import dataclass
from pathlib import Path

from kneeal.errors import UserError
from kneeal.prepare.tables import read_table
from kneeal.tables import finite, some

_YES, _NO = ("1", "yes", "true", "x", "reject"), ("", "0", "no", "false")


@dataclass(frozen=True)
class Correction:
    """What a person says about a knee."""

    reject: bool  #: Leave it out.
    #: Center of its plateau, mm from the radiograph's upper left corner; None: where the localizer saw it.
    center_mm: tuple[float, float] | None = None
    angle_deg: float | None = None  #: Angle of the plateau; None: as the localizer saw it.


def read_corrections(path: Path) -> dict[str, Correction]:
    """Corrections by knee id.

    The table has the columns knee_id, x_mm, y_mm, angle_deg and reject. A row with nothing but a knee id accepts the
    knee as it was found, whatever the localizer's doubts.
    """
    corrections: dict[str, Correction] = {}
    odd = []
    for where, row in read_table(path, ("knee_id", "x_mm", "y_mm", "angle_deg", "reject")).records:
        knee, reject = row["knee_id"], row["reject"].lower()
        texts = [row[name] for name in ("x_mm", "y_mm", "angle_deg")]
        x, y, angle = numbers = [finite(text) for text in texts]
        wrong = any(text and value is None for text, value in zip(texts, numbers, strict=True))
        if not knee or knee in corrections or wrong or (x is None) != (y is None) or reject not in (*_YES, *_NO):
            odd.append(where)
            continue
        corrections[knee] = Correction(reject in _YES, None if x is None or y is None else (x, y), angle)
    if odd:
        raise UserError(
            f"{path}: {some(odd)} cannot be understood",
            "each knee once; x_mm and y_mm both or neither, numbers; reject yes or empty",
            "correct these rows",
        )
    return corrections
