"""A run that ends before its budget is spent, with a runner that trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.fake_runner import GRADES, TEST, FakeRunner
from helpers.small_loop import loop, queries, without_times

from kneeal.loop.oracle import SimulatedOracle
from kneeal.loop.stopping import RoundSummary


class After:
    """Says stop after a number of rounds, and keeps what it was shown."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.seen: list[RoundSummary] = []

    def __call__(self, summaries: Sequence[RoundSummary]) -> bool:
        self.seen = list(summaries)
        return len(summaries) >= self.rounds


def test_a_run_stops_when_the_rule_says_so_and_stays_stopped(tmp_path: Path) -> None:
    runner = FakeRunner()
    run = loop(tmp_path, runner, stop=After(2))
    state = run.run(SimulatedOracle(GRADES))
    assert len(state.labeled) == 18 and run.finished and run.stopped_early
    assert [what for what, _ in runner.calls] == ["fit", "test", "predict", "fit", "test"]
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
    assert resumed.seen == whole.seen and run.stopped_early
    assert [s.n_labeled for s in whole.seen] == [10, 18, 26]
    assert all(len(s.predicted) == len(TEST) for s in whole.seen)
    assert [s.val_accuracy for s in whole.seen] == pytest.approx([0.3, 0.38, 0.46])
