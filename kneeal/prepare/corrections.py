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
    frame = read_table(path, ("knee_id", "x_mm", "y_mm", "angle_deg", "reject"))
    corrections: dict[str, Correction] = {}
    odd = []
    columns = frame[["KNEE_ID", "X_MM", "Y_MM", "ANGLE_DEG", "REJECT"]]
    for row, knee, x, y, angle, reject in columns.itertuples(name=None):
        numbers = [finite(text) for text in (x, y, angle)]
        given = (x != "", y != "")
        wrong = any(text != "" and value is None for text, value in zip((x, y, angle), numbers, strict=True))
        if not knee or knee in corrections or wrong or given[0] != given[1] or reject.lower() not in (*_YES, *_NO):
            odd.append(row)
            continue
        center = None if numbers[0] is None or numbers[1] is None else (numbers[0], numbers[1])
        corrections[knee] = Correction(reject.lower() in _YES, center, numbers[2])
    if odd:
        raise UserError(
            f"{path}: {some(odd)} cannot be understood",
            "each knee once; x_mm and y_mm both or neither, numbers; reject yes or empty",
            "correct these rows",
        )
    return corrections
