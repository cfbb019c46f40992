"""sheet.html: every film with what was found on it, worst first, in one file that needs no other."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kneeal.localizer.pose import KneePose
from kneeal.prepare.film_work import FilmResult

_STYLE = """
:root { color-scheme: dark; --paper: #15171a; --card: #1f2226; --ink: #e8e6e1; --dim: #9a9a94; --bad: #ff8f7a; }
* { box-sizing: border-box; }
body { margin: 0; padding: 24px; background: var(--paper); color: var(--ink); font: 14px/1.4 system-ui, sans-serif; }
h1 { font-size: 20px; margin: 0 0 4px; } p { margin: 0 0 16px; color: var(--dim); max-width: 90ch; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 14px; }
article { background: var(--card); border-radius: 6px; padding: 10px; content-visibility: auto;
  contain-intrinsic-size: 300px 420px; }
h2 { font-size: 13px; margin: 0 0 6px; overflow-wrap: anywhere; }
img { display: block; max-width: 100%; } .film { margin: 0 auto 8px; max-height: 240px; }
.knee { display: grid; grid-template-columns: 176px 1fr; gap: 8px; margin-top: 6px; font-size: 12px; }
.knee span, .dim { color: var(--dim); } .bad { color: var(--bad); margin: 4px 0 0; }
@media (max-width: 400px) { .knee { grid-template-columns: 1fr; } }
"""
_HELP = (
    "Boxes: the 110 mm field of each knee, green where it is used, red where not; the line is the tibial plateau. "
    "Patches: medial, lateral. To correct a knee, write its id, and x, y (mm) and angle (degrees) or reject, into a "
    "CSV file with the columns knee_id, x_mm, y_mm, angle_deg, reject, and prepare again with --corrections. A row "
    "with an id alone uses the knee as it was seen."
)


@dataclass(frozen=True)
class SheetFilm:
    """One film of the sheet.

    Attributes:
        title: What it is called.
        knee_ids: Side to knee id.
        grades: Side to KL grade.
        score: Lowest score of its knees; below 0 where something of it was set aside.
        load: Gives its result, so that not all need be in memory.
    """

    title: str
    knee_ids: dict[str, str]
    grades: dict[str, int | None]
    score: float
    load: Callable[[], FilmResult]


def write_sheet(path: Path, films: Sequence[SheetFilm], *, most: int, heading: str) -> None:
    """Write the sheet.

    Args:
        path: The file.
        films: All films.
        most: How many to show; the best are left out.
        heading: Its title.
    """
    ranked = sorted(films, key=lambda film: (film.score, film.title))
    shown = ranked[:most]
    left_out = len(ranked) - len(shown)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        best = f"; the best {left_out} are not shown" if left_out else ""
        file.write(
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(heading)}</title>\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style>'
            f"</head>\n<body><h1>{html.escape(heading)}</h1>\n<p>{len(ranked)} films, what was set aside first, then "
            f"from the lowest score to the highest{best}. {_HELP}</p>\n<main>\n"
        )
        for film in shown:
            file.write(_article(film))
        file.write("</main></body></html>\n")


def _article(film: SheetFilm) -> str:
    result = film.load()
    parts = [f"<article><h2>{html.escape(film.title)}</h2>"]
    if result.thumbnail:
        parts.append(f'<img class="film" alt="the whole film" src="{_data(result.thumbnail)}">')
    else:
        parts.append('<div class="dim">no thumbnail</div>')
    for pose, strip in zip(result.poses, result.strips, strict=True):
        grade = film.grades.get(pose.side)
        parts.append(
            f'<div class="knee"><img alt="patches" src="{_data(strip)}"><div>'
            f"{html.escape(film.knee_ids[pose.side])}<br>"
            f"KL {'unknown' if grade is None else grade}<br><span>{_place(pose)}</span></div></div>"
        )
    for pose in result.unused:
        name = film.knee_ids.get(pose.side, "a knee of unknown side")
        parts.append(f'<div class="dim">{html.escape(name)} was seen, not used: {_place(pose)}</div>')
    for side, reason, text in result.refused:
        name = film.knee_ids.get(side, "the film")
        parts.append(
            f'<div class="bad">{html.escape(name)} is set aside: {html.escape(text)} ({html.escape(reason)})</div>'
        )
    return "\n".join([*parts, "</article>\n"])


def _place(pose: KneePose) -> str:
    x, y = pose.middle_mm
    parts = (f"score {pose.score:.2f}", f"x {x:.1f}", f"y {y:.1f} mm", f"angle {pose.angle_deg:.1f}&deg;")
    return ", ".join(part.replace(" ", "&nbsp;") for part in parts)


def _data(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
