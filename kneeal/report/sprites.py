"""Pictures of the queried knees, as a few sheets inside the page."""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kneeal.report.runs import Runs

#: Knee id to a picture uint8 [H, W].
Thumbnail = Callable[[str], NDArray[np.uint8]]
#: A tile of a sprite sheet, px: both patches of a knee side by side.
TILE = (112, 56)
_COLUMNS, _PER_SHEET = 16, 256


def first_queried(runs: Runs, n: int) -> list[str]:
    """The n knees whose pictures are kept: seed by seed, round by round, all settings in turn."""
    found: dict[str, None] = {}
    for seed in runs.seeds:
        by_setting = [s.runs[seed].queries() for s in runs.curves if seed in s.runs]
        for place in range(max(map(len, by_setting), default=0)):
            for queries in by_setting:
                if place < len(queries):
                    found.update(dict.fromkeys(queries[place].ids))
                if len(found) >= n:
                    return list(found)[:n]
    return list(found)


def make_sprites(knees: Sequence[str], thumbnail: Thumbnail, number: Mapping[str, int]) -> dict[str, Any]:
    """Sheets of pictures as data URLs, and the sheet and tile of each knee's number."""
    import cv2

    sheets: list[str] = []
    rows: list[int] = []
    places: dict[int, list[int]] = {}
    for start in range(0, len(knees), _PER_SHEET):
        part = knees[start : start + _PER_SHEET]
        n_rows = math.ceil(len(part) / _COLUMNS)
        sheet = np.zeros((n_rows * TILE[1], _COLUMNS * TILE[0]), np.uint8)
        for k, knee in enumerate(part):
            y, x = (k // _COLUMNS) * TILE[1], (k % _COLUMNS) * TILE[0]
            tile = cv2.resize(thumbnail(knee), TILE, interpolation=cv2.INTER_AREA)
            sheet[y : y + TILE[1], x : x + TILE[0]] = tile
            places[number[knee]] = [len(sheets), k]
        _, coded = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 62])
        sheets.append("data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode())
        rows.append(n_rows)
    return {"columns": _COLUMNS, "rows": rows, "sheets": sheets, "places": places}
