from __future__ import annotations

import io
from dataclasses import replace

import pytest

from kneeal.loggers.console import LOG_EVERY, Console, count_progress
from kneeal.loop.events import RoundReport

REPORT = RoundReport(
    round=0,
    n_labeled=50,
    n_graded=70,
    n_pseudo=0,
    metrics={"test_balanced_accuracy": 0.4123},
    confusion=[],
    uncertainty=[],
    query=("a",),
    scores={},
    answers={},
    seconds={"fit": 10.0, "test": 2.0, "predict": 19.0, "select": 0.0},
    n_rounds=4,
    n_pool=950,
)
CONFIG = {"active.n_query": 50, "active.budget": 200}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_round_is_one_line_with_labels_accuracy_seconds_and_time_left() -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.run_started(CONFIG, [])
    console.round_started(0, 50, 950, 4)
    console.round_finished(REPORT)
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("round  1/4   labels   50   balanced accuracy 41.2 %   fit 10 s   predict 21 s")
    assert line.endswith("left")


def test_time_left_follows_labels_and_pool() -> None:
    console = Console(io.StringIO())
    console.run_started(CONFIG, [])
    console.round_finished(REPORT)
    # One round: a fit costs 0.2 s a label, a test 2 s, a pool knee 0.02 s; the last round predicts no pool.
    assert console.seconds_left() == pytest.approx((20 + 30 + 40) + 3 * 2 + 0.02 * (900 + 850))
    # Two rounds: a line through (50, 10) and (100, 15).
    console.round_finished(replace(REPORT, round=1, n_labeled=100, n_pool=900, seconds={**REPORT.seconds, "fit": 15.0}))
    rate = 38 / 1850
    assert console.seconds_left() == pytest.approx(20 + 25 + 2 * 2 + rate * 850)
    console.round_finished(replace(REPORT, round=3, n_labeled=200, query=()))
    assert console.seconds_left() == 0


def test_a_log_gets_whole_lines_and_few_of_them() -> None:
    stream, clock = io.StringIO(), Clock()
    console = Console(stream, clock)
    console.round_started(0, 50, 950, 4)
    console.begin("fit", 100, "epochs")
    for _ in range(100):
        clock.now += 1.5
        console.advance(1, {"train/loss": 1.25, "val/balanced_accuracy": 0.3})
    console.end()
    console.begin("predict pool", 1000, "knees")
    console.advance(500, {})
    console.end()
    text = stream.getvalue()
    assert "\r" not in text and "\x1b" not in text
    lines = text.splitlines()
    assert len(lines) == int(150 // LOG_EVERY)
    assert lines[0] == "round 1/4 fit: 40/100 epochs, 0.7/s, loss 1.250, val BA 0.300"


def test_a_terminal_gets_bars_that_leave_nothing_behind() -> None:
    stream = Terminal()
    console = Console(stream)
    console.run_started(CONFIG, [])
    console.round_started(1, 50, 950, 4)
    console.begin("predict pool", 1000, "knees")
    console.advance(640, {})
    assert "round 2/4 predict pool" in stream.getvalue()
    assert "knees/s" in stream.getvalue() or "knees]" in stream.getvalue()
    console.end()
    console.round_finished(REPORT)
    last = stream.getvalue().split("\r")[-1]
    assert last.startswith("round  1/4") and last.endswith("\n")


def test_a_resumed_run_says_where_it_goes_on() -> None:
    stream = io.StringIO()
    Console(stream).run_started(CONFIG, [REPORT])
    assert stream.getvalue() == "resuming: 1 of 4 rounds are finished\n"


def test_counting_is_silent_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with count_progress(3, "knees") as step:
        step(1)
    assert capsys.readouterr().err == ""
