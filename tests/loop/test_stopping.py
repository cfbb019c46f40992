from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from helpers.commands import done
from helpers.fake_runs import put

from kneeal.config import validate
from kneeal.errors import UserError
from kneeal.loop.stopping import Rows, certain, cohen_kappa, gain, stabilizing, stop_rule, stopping_points


def test_agreement_is_cohens_kappa() -> None:
    # 2 x 2 table 20, 5, 10, 15: observed 0.7, by chance 0.5.
    first, second = [0] * 25 + [1] * 25, [0] * 20 + [1] * 5 + [0] * 10 + [1] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    assert cohen_kappa([2, 2], [2, 2]) == 1.0
    assert cohen_kappa([0, 1], [1, 0]) == pytest.approx(-1.0)


def rows(name: str, values: list[float]) -> Rows:
    return [{name: value} for value in values]


def test_the_first_round_that_meets_a_criterion() -> None:
    agreements = [math.nan, 0.2, 1.0, 1.0, 1.0]
    assert stabilizing(rows("pool_agreement", agreements), window=2) == 3
    assert stabilizing(rows("pool_agreement", agreements), window=3) == 4
    assert stabilizing(rows("pool_agreement", agreements[:2]), window=2) is None
    assert certain(rows("pool_uncertainty", [0.9, 0.3, 0.1, 0.05]), below=0.2) == 2
    assert certain(rows("pool_uncertainty", [0.9]), below=0.2) is None
    assert gain(rows("val_balanced_accuracy", [0.2, 0.4, 0.5, 0.5, 0.5]), below=0.06, window=2) == 3
    assert gain(rows("val_balanced_accuracy", [0.2, 0.4, 0.6]), below=0.06, window=2) is None


def test_the_report_of_a_run(tmp_path: Path) -> None:
    accuracies, agreements = [(0.2, 0.2), (0.5, 0.4), (0.5, 0.45), (0.5, 0.5)], [math.nan, 0.3, 1.0, math.nan]
    for number, ((val, test), kappa) in enumerate(zip(accuracies, agreements, strict=True)):
        row = {"round": number, "n_labeled": 50 + 50 * number, "pool_agreement": kappa}
        row |= {"val_balanced_accuracy": val, "test_balanced_accuracy": test, "pool_uncertainty": math.nan}
        put(tmp_path / f"rounds/{number:03d}/metrics.json", json.dumps({"row": row}))
        put(tmp_path / f"rounds/{number:03d}/query.json", json.dumps({"row": {}}))
    stable, sure, small = stopping_points(tmp_path, window=1)
    assert (stable.round, stable.n_labeled, stable.labels_saved) == (2, 150, 50)
    assert stable.cost == pytest.approx(0.05)
    assert sure.round is None and not sure.known
    assert small.round == 2
    assert "uncertainty: not known" in done("stopping", tmp_path)


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run in"):
        stopping_points(tmp_path)


@pytest.mark.parametrize(
    ("name", "options", "first"),
    [
        ("stabilizing", {"window": 2}, 3),
        ("uncertainty", {"below": 0.3}, 4),
        ("gain", {"below": 0.01, "window": 1}, 4),
    ],
)
def test_a_rule_says_stop_from_the_first_round_that_meets_it(name: str, options: dict[str, float], first: int) -> None:
    rule = stop_rule(name, options)
    assert rule is not None
    seen = [
        {
            "pool_agreement": 1.0 if k else math.nan,
            "pool_uncertainty": 1.0 / (k + 1),
            "val_balanced_accuracy": 0.2 + 0.1 * min(k, 2),
        }
        for k in range(5)
    ]
    assert [rule(seen[:n]) for n in range(1, 6)] == [n >= first for n in range(1, 6)]


def test_rules_that_cannot_be_made_are_said() -> None:
    assert stop_rule("never", {}) is None
    for name, options in [("never", {"window": 2}), ("gain", {"kappa": 1}), ("gain", {"window": 0}),
                          ("uncertainty", {"below": "low"})]:  # fmt: skip
        with pytest.raises(UserError, match=r"active\.stop"):
            stop_rule(name, options)


def test_nothing_stops_by_itself() -> None:
    assert validate({}).active.stop_when == "never"
