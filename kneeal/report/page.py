"""One HTML page with everything in it: no server, no network, no build."""

import base64
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from numpy.typing import NDArray

from kneeal import __version__
from kneeal.data.grades import N_GRADES
from kneeal.errors import count
from kneeal.report.claims import Claim
from kneeal.report.drawing import DARK_GRADES, GRADE_COLORS, setting_colors
from kneeal.report.queries import pool_shares
from kneeal.report.runs import Runs, Setting
from kneeal.report.text import TextTable, heading
from kneeal.stats.metrics import find_metric
from kneeal.stats.summary import summarize_at

#: Curves that are on when the page opens, in addition to random and the baseline.
_FIRST = 5
#: Size of a picture in px: both patches of a knee side by side.
_TILE = (112, 56)
TEMPLATES = Environment(
    loader=PackageLoader("kneeal.report", "page_files"),
    autoescape=select_autoescape(),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}


def make_page(
    runs: Runs,
    metric: str,
    counts: Sequence[int],
    *,
    title: str,
    claims: Sequence[Claim],
    tables: Sequence[TextTable],
    kl: Mapping[str, int],
    provenance: Mapping[str, str],
    power: str = "",
    thumbnail: Callable[[str], NDArray[np.uint8]] | None = None,
    n_thumbnails: int = 2000,
) -> str:
    """The page, which opens with `metric` and has the label counts `counts` in its table.

    Without the data set there are no grades `kl` and no `thumbnail`, which draws a knee as uint8 [H, W]. At most
    `n_thumbnails` pictures are kept in the page, those of the first seeds and rounds first.
    """
    queries = [query for s in runs.curves for run in s.runs.values() for query in run.queries]
    grades: dict[str, int | None] = {i: None for query in queries for i in query.ids}
    for query in queries:
        grades.update({i: grade for i, grade in zip(query.ids, query.grades, strict=True) if grade is not None})
    ids = sorted(grades)
    number = {knee: k for k, knee in enumerate(ids)}
    colors, pictured = setting_colors(runs), _first_queried(runs, n_thumbnails)
    data = {
        "metric": metric,
        "metrics": {name: _metric(name) for name in runs.metrics},
        "counts": list(runs.label_counts),
        "tableCounts": list(counts),
        "seeds": list(runs.seeds),
        "settings": [_setting(s, runs, colors[s.label], number) for s in runs.settings],
        "first": _shown_first(runs, metric),
        "grades": {"colors": GRADE_COLORS, "dark": DARK_GRADES, "pool": pool_shares(runs, kl)},
        "knees": {"ids": ids, "grades": [grades[i] for i in ids]},
        "pictures": {number[i]: _encode(thumbnail(i)) for i in pictured if thumbnail},
    }
    labels = f", {runs.label_counts[0]} to {count(runs.label_counts[-1], 'label')}" if runs.label_counts else ""
    parts = [count(len(runs.settings), "setting"), count(len(runs.seeds), "seed"), count(len(runs.all), "run") + labels]
    summary = f"{', '.join(parts)}; {count(len(runs.test_predictions.ids), 'test knee')}, the same for all"
    return TEMPLATES.get_template("page.html").render(
        title=title, summary=summary, messages=runs.messages, claims=claims, tables=tables,
        provenance=provenance, power=power, data=data,
        has_queries=bool(queries), has_validation=runs.any_free_grades,
        footer=f"Made by kneeal {__version__} from {count(len(runs.all), 'run')}.",
    )  # fmt: skip


def _metric(name: str) -> dict[str, Any]:
    metric = find_metric(name)
    return {
        "name": heading(name), "factor": metric.factor, "digits": metric.digits, "lower": metric.lower_is_better,
        "chance": metric.chance(N_GRADES) if metric.chance else None,
    }  # fmt: skip


def _setting(setting: Setting, runs: Runs, color: str, number: Mapping[str, int]) -> dict[str, Any]:
    first = setting.first
    values = {
        metric: [
            {"labels": n, "mean": _plain(s.mean), "error": None if s.error is None else _plain(s.error), "n": s.n}
            for n, s in setting.summaries(metric)
        ]
        for metric in runs.metrics
    }
    calibration = setting.calibration()
    bins = zip(calibration.confidence, calibration.accuracy, calibration.count, strict=True)
    return {
        "label": setting.label,
        "color": color,
        "consistency": first.consistency,
        "baseline": first.is_baseline,
        "validation": setting.free_grades if runs.any_free_grades else "",
        "values": values,
        "confusion": setting.confusion().tolist(),
        "calibration": [[_plain(confidence, 4), _plain(accuracy, 4), int(n)] for confidence, accuracy, n in bins],
        "ece": _plain(calibration.ece, 4),
        "queries": {
            str(seed): [
                {
                    "round": query.round,
                    "knees": [number[i] for i in query.ids],
                    "scores": [None if math.isnan(score) else _plain(score, 3) for score in query.scores],
                }
                for query in run.queries
            ]
            for seed, run in ({} if first.is_baseline else setting.runs).items()
        },
    }


def _first_queried(runs: Runs, n: int) -> list[str]:
    """The n knees whose pictures are kept: seed by seed, round by round, all settings in turn."""
    found: dict[str, None] = {}
    for seed in runs.seeds:
        by_setting = [s.runs[seed].queries for s in runs.curves if seed in s.runs]
        for queries in itertools.zip_longest(*by_setting):
            found.update(dict.fromkeys(i for query in queries if query for i in query.ids))
    return list(found)[:n]


def _encode(picture: NDArray[np.uint8]) -> str:
    """A small picture as a data URL."""
    small = cv2.resize(picture, _TILE, interpolation=cv2.INTER_AREA)
    _, coded = cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, 60])
    return "data:image/webp;base64," + base64.b64encode(coded.tobytes()).decode()


def _shown_first(runs: Runs, metric: str) -> list[int]:
    """The settings whose curves are on at first: random, the baselines, and the best by the last mean."""
    sign = 1 if find_metric(metric).lower_is_better else -1
    last = max(runs.label_counts, default=0)
    place = {s.label: k for k, s in enumerate(runs.settings)}
    means = {s.label: found.mean for s in runs.curves if (found := summarize_at(s.curves(metric), last))}
    best = sorted(means, key=lambda label: sign * means[label])[:_FIRST]
    always = [s.label for s in runs.settings if s.first.is_baseline or s.first.strategy == "random"]
    return sorted({place[label] for label in (*best, *always)})


def _plain(value: float, digits: int = 8) -> float:
    # More digits than any table shows: a number that is rounded twice may differ from the text's.
    return round(float(value), digits) + 0.0
