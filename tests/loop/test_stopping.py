from __future__ import annotations

from pathlib import Path

import pytest

from kneeal.config import validate
from kneeal.errors import UserError
from kneeal.loop.stopping import RoundSummary, agreement, certain, gain, stabilizing, stop_rule, stopping_points


def test_agreement_is_cohens_kappa() -> None:
    # 2 x 2 table 20, 5, 10, 15: observed 0.7, by chance 0.5.
    first, second = [0] * 25 + [1] * 25, [0] * 20 + [1] * 5 + [0] * 10 + [1] * 15
    assert agreement(first, second) == pytest.approx(0.4)
    assert agreement([2, 2], [2, 2]) == 1.0
    assert agreement([0, 1], [1, 0]) == pytest.approx(-1.0)


def test_the_first_round_that_meets_a_criterion() -> None:
    a, b = [0, 1, 2, 0], [0, 1, 2, 1]
    assert stabilizing([a, b, b, b, b], window=2) == 3
    assert stabilizing([a, b, b, b, b], window=3) == 4
    assert stabilizing([a, b], window=2) is None
    assert certain([0.9, 0.3, 0.1, 0.05], below=0.2) == 2
    assert certain([0.9], below=0.2) is None
    assert gain([0.2, 0.4, 0.5, 0.5, 0.5], below=0.06, window=2) == 3
    assert gain([0.2, 0.4, 0.6], below=0.06, window=2) is None


def test_the_report_of_a_run(tmp_path: Path) -> None:
    lines = ["round,n_labeled,val_balanced_accuracy,test_balanced_accuracy"]
    for number, (val, test) in enumerate([(0.2, 0.2), (0.5, 0.4), (0.5, 0.45), (0.5, 0.5)]):
        lines.append(f"{number},{50 + 50 * number},{val},{test}")
        folder = tmp_path / "rounds" / f"{number:03d}"
        folder.mkdir(parents=True)
        low = 0.6 if number == 0 else 0.1
        (folder / "test_predictions.csv").write_text(
            f"knee_id,kl,p0,p1,uncertainty\na,0,{low},{1 - low},0.5\nb,1,0.9,0.1,0.5\n"
        )
    (tmp_path / "rounds.csv").write_text("\n".join(lines) + "\n")
    stable, sure, small = stopping_points(tmp_path, window=1)
    assert (stable.round, stable.n_labeled, stable.labels_saved) == (2, 150, 50)
    assert stable.cost == pytest.approx(0.05)
    assert sure.round is None
    assert small.round == 2


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rounds\.csv"):
        stopping_points(tmp_path)


def summaries(n: int) -> list[RoundSummary]:
    return [RoundSummary(10 * k, (0, 1, 2, 0), 1.0 / (k + 1), 0.2 + 0.1 * min(k, 2)) for k in range(n)]


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
    assert [rule(summaries(n)) for n in range(1, 6)] == [n >= first for n in range(1, 6)]


def test_rules_that_cannot_be_made_are_said() -> None:
    assert stop_rule("never", {}) is None
    for name, options in [("never", {"window": 2}), ("soon", {}), ("gain", {"kappa": 1}), ("gain", {"window": 0}),
                          ("uncertainty", {"below": "low"})]:  # fmt: skip
        with pytest.raises(UserError, match=r"active\.stop"):
            stop_rule(name, options)


def test_nothing_stops_by_itself() -> None:
    assert validate({}).active.stop_when == "never"
