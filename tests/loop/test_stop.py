"""A run that ends before its budget is spent, with a runner that trains nothing."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_runner import GRADES, FakeRunner
from helpers.small_loop import loop, queries, without_times

from kneeal.loop.query import SimulatedOracle
from kneeal.loop.stopping import Rows, cohen_kappa


class After:
    """Says stop after a number of rounds, and keeps what it was shown."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.seen: list[dict[str, Any]] = []

    def __call__(self, rows: Rows) -> bool:
        self.seen = [{k: v for k, v in row.items() if not k.endswith("_seconds")} for row in rows]
        return len(rows) >= self.rounds


def test_a_run_stops_when_the_rule_says_so_and_stays_stopped(tmp_path: Path) -> None:
    runner = FakeRunner()
    run = loop(tmp_path, runner, stop=After(2))
    state = run.run(SimulatedOracle(GRADES))
    assert len(state.labeled) == 18 and run.finished and run.stopped_early
    assert [what for what, _ in runner.calls] == ["fit", "test", "predict", "fit", "test", "predict"]
    assert [len(q) for q in queries(tmp_path)] == [10, 8, 0]
    again = loop(tmp_path, FakeRunner(), stop=After(2))
    assert again.ask() is None and again.stopped_early
    assert len(again.finished_rounds()) == 2


def test_without_a_rule_or_with_one_that_is_never_met_the_budget_is_spent(tmp_path: Path) -> None:
    for name, options in {"none": {}, "unmet": {"stop": After(100)}}.items():
        run = loop(tmp_path / name, FakeRunner(), **options)
        assert len(run.run(SimulatedOracle(GRADES)).labeled) == 30
        assert run.finished and not run.stopped_early
    assert without_times(tmp_path / "none") == without_times(tmp_path / "unmet")


@pytest.mark.parametrize("interrupted", [("test", 1), ("predict", 1), ("fit", 2)])
def test_a_resumed_run_shows_the_rule_what_an_uninterrupted_one_does(
    tmp_path: Path, interrupted: tuple[str, int]
) -> None:
    whole = After(3)
    loop(tmp_path / "whole", FakeRunner(), stop=whole).run(SimulatedOracle(GRADES))

    def hook(what: str, round: int) -> None:
        if (what, round) == interrupted:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop(tmp_path / "broken", FakeRunner(hook), stop=After(3)).run(SimulatedOracle(GRADES))
    resumed = After(3)
    run = loop(tmp_path / "broken", FakeRunner(), stop=resumed)
    run.run(SimulatedOracle(GRADES))
    assert run.stopped_early
    assert str(resumed.seen) == str(whole.seen)  # as text, since NaN is not itself
    assert [row["n_labeled"] for row in whole.seen] == [10, 18, 26]
    assert [row["val_balanced_accuracy"] for row in whole.seen] == pytest.approx([0.3, 0.38, 0.46])


@pytest.mark.parametrize("strategy", ["entropy_mcd", "random"])
def test_the_rule_is_shown_the_pool_and_never_the_test_set(tmp_path: Path, strategy: str) -> None:
    class OtherTest(FakeRunner):
        def test(self, *arguments: Any) -> Any:
            evaluation = super().test(*arguments)
            return dataclasses.replace(
                evaluation,
                metrics={"balanced_accuracy": 0.0},
                probs=evaluation.probs.flip(1),
                uncertainty=evaluation.uncertainty * 2,
            )

    shown, other = After(4), After(4)
    loop(tmp_path / "a", FakeRunner(), strategy, stop=shown, consistency=False).run(SimulatedOracle(GRADES))
    loop(tmp_path / "b", OtherTest(), strategy, stop=other, consistency=False).run(SimulatedOracle(GRADES))
    seen = [
        [{k: v for k, v in row.items() if not k.startswith("test_")} for row in rule.seen] for rule in (shown, other)
    ]
    assert str(seen[0]) == str(seen[1]) and len(seen[0]) == 3
    assert all(0 < row["pool_uncertainty"] < math.log(5) for row in seen[0])
    grades = []
    for number in range(2):
        with (tmp_path / f"a/rounds/{number:03d}/scores.csv").open() as file:
            grades.append({row["knee_id"]: int(row["predicted"]) for row in csv.DictReader(file)})
    expected = cohen_kappa(list(grades[1].values()), [grades[0][i] for i in grades[1]])
    assert math.isnan(seen[0][0]["pool_agreement"]) and seen[0][1]["pool_agreement"] == pytest.approx(expected)
