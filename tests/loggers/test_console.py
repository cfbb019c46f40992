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
CONFIG = {"training.steps": None}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_round_is_one_line_with_labels_accuracy_seconds_and_time_left() -> None:
    stream, clock = io.StringIO(), Clock()
    console = Console(stream, clock)
    console.run_started(CONFIG, [])
    console.round_started(0, 50, 950, 4)
    for what in ("fit", "predict test"):
        console.begin(what, 1, "steps")
        clock.now += 10.0
        console.end()
    console.round_finished(replace(REPORT, uncertainty=[0.5]))
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("round  1/4   labels   50   balanced accuracy 41.2 %   fit 10 s   predict 21 s")
    assert line.endswith("left")


def left(stream: io.StringIO) -> str:
    return stream.getvalue().splitlines()[-1].partition("about ")[2]


def work(console: Console, clock: Clock, report: RoundReport, fit: float, test: float, pool: float) -> None:
    """A round with 5 s for the network before its fit, which the run does once, and 4 s at the first test."""
    console.round_started(report.round, report.n_labeled, report.n_pool, report.n_rounds)
    clock.now += 5 * (report.round == 0)
    for what, seconds in (("fit", fit), ("predict test", test + 4 * (report.round == 0)), ("predict pool", pool)):
        console.begin(what, 1, "steps")
        clock.now += seconds
        console.end()
    console.round_finished(report)


@pytest.mark.parametrize(("steps", "first", "second"), [(200, 600, 400), (None, 1800, 900)])
def test_time_left_follows_labels_and_pool_and_not_what_is_done_once(
    steps: int | None, first: float, second: float
) -> None:
    stream, clock = io.StringIO(), Clock()
    console = Console(stream, clock)
    console.run_started({"training.steps": steps}, [])
    report = replace(REPORT, query=("q",) * 50, uncertainty=[0.5] * 100)
    # 0.02 s for a knee: 100 test knees, and the pool, which the last round does not predict.
    work(console, clock, report, 200.0, 2.0, 19.0)
    assert left(stream) == f"{(first + 3 * 2 + 0.02 * (900 + 850)) / 60:.0f} min left"
    # With a fixed number of steps a fit takes what it took, else a line goes through (50, 200) and (100, 300).
    report = replace(report, round=1, n_labeled=100, n_pool=900)
    work(console, clock, report, 200.0 if steps else 300.0, 2.0, 18.0)
    assert left(stream) == f"{(second + 2 * 2 + 0.02 * 850) / 60:.0f} min left"
    work(console, clock, replace(report, round=3, n_labeled=200, query=()), 200.0, 2.0, 0.0)
    assert "left" not in stream.getvalue().splitlines()[-1]


def test_a_round_whose_fit_an_earlier_process_did_promises_nothing() -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.run_started({}, [])
    console.round_started(0, 50, 950, 4)
    console.round_finished(REPORT)
    assert stream.getvalue().endswith("predict 21 s\n")


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
