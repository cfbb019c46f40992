"""One HTML page with everything in it: no server, no network, no build."""

from __future__ import annotations

import base64
import html
import json
import math
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kneeal import __version__
from kneeal.report.claims import Claim
from kneeal.report.one_run import GREY
from kneeal.report.runs import Run, Runs, Setting
from kneeal.report.text import TextTable, heading
from kneeal.stats.metrics import describe
from kneeal.stats.summary import summarize_at

Thumbnail = Callable[[str], NDArray[np.uint8]]
#: A tile of a sprite sheet, px: both patches of a knee side by side.
TILE = (112, 56)
_COLUMNS, _PER_SHEET = 16, 256
#: Okabe and Ito's colours and two more, apart from the grey of random asking and the dark of the baseline.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C6D31")


def make_page(
    runs: Runs,
    metric: str,
    counts: Sequence[int],
    *,
    title: str,
    claims: Sequence[Claim],
    tables: Sequence[TextTable],
    thumbnail: Thumbnail | None = None,
    n_thumbnails: int = 2000,
) -> str:
    """The page.

    Args:
        runs: The runs.
        metric: The metric shown first.
        counts: Label counts of the table.
        title: Heading.
        claims: Evidence for the paper's claims.
        tables: Further tables, folded.
        thumbnail: Knee id to a picture uint8 [H, W]; None where the data set is not at hand.
        n_thumbnails: At most so many pictures are kept in the page; those of the first seed and first rounds first.
    """
    queries = {s.label: {seed: run.queries() for seed, run in s.runs.items()} for s in runs.curves}
    ids = sorted({i for by_seed in queries.values() for qs in by_seed.values() for q in qs for i in q.ids})
    number = {knee: k for k, knee in enumerate(ids)}
    grades: list[int | None] = [None] * len(ids)
    for by_seed in queries.values():
        for query in (q for qs in by_seed.values() for q in qs):
            for knee, grade in zip(query.ids, query.grades, strict=True):
                grades[number[knee]] = grade if grade is not None else grades[number[knee]]
    shown = _most_wanted(runs, n_thumbnails) if thumbnail else []
    data = {
        "metric": metric,
        "metrics": {name: _metric(name) for name in runs.metrics},
        "counts": list(runs.label_counts),
        "tableCounts": list(counts),
        "seeds": list(runs.seeds),
        "settings": [
            _setting(s, runs, colour, number) for s, colour in zip(runs.settings, _colours(runs), strict=True)
        ],
        "knees": {"ids": ids, "grades": grades},
        "sprites": _sprites(shown, thumbnail, number),
        "messages": list(runs.messages),
        "summary": _summary(runs),
    }
    files = resources.files("kneeal.report") / "page_files"
    page = (files / "page.html").read_text(encoding="utf-8")
    parts = {
        "title": html.escape(title),
        "css": (files / "page.css").read_text(encoding="utf-8"),
        "js": (files / "page.js").read_text(encoding="utf-8"),
        "sections": _sections(claims, tables),
        "footer": html.escape(f"Made by kneeal {__version__} from {sum(len(s.runs) for s in runs.settings)} runs."),
        # `</script>` in a label must not end the element.
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    }
    pieces = page.split("{{")
    return pieces[0] + "".join(parts[name] + rest for name, _, rest in (piece.partition("}}") for piece in pieces[1:]))


def _metric(name: str) -> dict[str, Any]:
    metric = describe(name)
    return {
        "name": heading(name), "factor": metric.factor, "digits": metric.digits, "lower": metric.lower_is_better,
    }  # fmt: skip


def _setting(setting: Setting, runs: Runs, colour: str, number: dict[str, int]) -> dict[str, Any]:
    first = setting.first
    values = {}
    for metric in runs.metrics:
        curves = setting.curves(metric)
        found = [
            (n, summarize_at(curves, n)) for n in sorted({int(n) for curve in curves.values() for n in curve.n_labeled})
        ]
        values[metric] = [
            {"labels": n, "mean": _plain(s.mean), "error": None if s.error is None else _plain(s.error), "n": s.n}
            for n, s in found
            if s is not None
        ]
    return {
        "label": setting.label,
        "colour": colour,
        "consistency": first.consistency,
        "baseline": first.is_baseline,
        "values": values,
        "queries": {}
        if first.is_baseline
        else {str(seed): _queries(run, number) for seed, run in setting.runs.items()},
    }


def _queries(run: Run, number: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "round": query.round,
            "knees": [number[i] for i in query.ids],
            "scores": [None if math.isnan(score) else _plain(score, 3) for score in query.scores],
        }
        for query in run.queries()
    ]


def _most_wanted(runs: Runs, n: int) -> list[str]:
    """The knees whose pictures are kept: seed by seed, round by round, all settings in turn."""
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


def _sprites(knees: Sequence[str], thumbnail: Thumbnail | None, number: dict[str, int]) -> dict[str, Any]:
    """Sheets of pictures as data URLs, and the sheet and tile of each knee."""
    if thumbnail is None:
        return {"columns": _COLUMNS, "rows": [], "sheets": [], "places": {}}
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


def _colours(runs: Runs) -> list[str]:
    """One colour a strategy, or a setting where a strategy has more than two; random asking is grey."""
    families: dict[str, str] = {}
    colours = []
    for setting in runs.settings:
        if setting.first.is_baseline:
            colours.append("#6b6f76")
            continue
        if setting.first.strategy == "random":
            colours.append(GREY)
            continue
        family = setting.label.replace(" + CR", "")
        colours.append(families.setdefault(family, _COLOURS[len(families) % len(_COLOURS)]))
    return colours


def _summary(runs: Runs) -> str:
    n_runs, n_seeds = sum(len(s.runs) for s in runs.settings), len(runs.seeds)
    first = runs.settings[0].first
    test = len(first.predictions(int(first.rounds["round"].iloc[0])).ids)
    counts = runs.label_counts
    budget = f", {counts[0]} to {counts[-1]} labels" if counts else ""
    return (
        f"{len(runs.settings)} settings, {n_seeds} seed{'s' * (n_seeds != 1)}, {n_runs} runs{budget}; "
        f"{test} test knees, the same for all"
    )


def _sections(claims: Sequence[Claim], tables: Sequence[TextTable]) -> str:
    parts = []
    if claims:
        parts.append('<section aria-labelledby="h-claims"><h2 id="h-claims">The paper\'s claims on these runs</h2>')
        parts += [
            f'<h3>{html.escape(claim.claim)}? <span class="verdict">{html.escape(claim.verdict)}</span></h3>'
            f'<p class="soft">{html.escape(claim.rule)}.</p>{_table(claim.evidence)}'
            for claim in claims
        ]
        parts.append("</section>")
    if tables:
        parts.append('<section aria-labelledby="h-more"><h2 id="h-more">More</h2>')
        parts += [
            f"<details><summary>{html.escape(t.title)}</summary>{_table(t)}"
            + "".join(f'<p class="soft">{html.escape(note)}</p>' for note in t.notes if note)
            + "</details>"
            for t in tables
        ]
        parts.append("</section>")
    return "\n".join(parts)


def _table(table: TextTable) -> str:
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in table.header)
    body = "".join(
        "<tr>" + "".join(f"<td{_mark(text)}>{html.escape(text)}</td>" for text in row) + "</tr>" for row in table.rows
    )
    return f'<div class="scroll"><table class="data"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _mark(text: str) -> str:
    return ' class="win"' if text.endswith("*") else ' class="loss"' if text.endswith("°") else ""


def _plain(value: float, digits: int = 8) -> float:
    # More digits than any table shows, lest a number be rounded twice and differ from the text's.
    return float(round(float(value), digits))
