"""Progress of a run: bars on a terminal, plain lines in a log."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import linear_regression
from typing import Any, TextIO

from tqdm import tqdm

from kneeal.loop.events import FitProgress, LoopListener, RoundReport

#: Seconds between two progress lines of a long fit or prediction, where there is no terminal.
LOG_EVERY = 60.0


class Console(LoopListener, FitProgress):
    """Shows epochs, predicted knees with knees per second, a line per round, and the time left for the run.

    Args:
        stream: Where to write. On a terminal there are bars; elsewhere only whole lines.
        clock: Monotonic time in seconds.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._terminal = self._stream.isatty()
        self._bar: tqdm[Any] | None = None
        self._reports: list[RoundReport] = []
        self._label = ""
        self._started = self._logged_at = 0.0
        self._n_schedule: tuple[int, float] = (0, 0.0)

    # -- rounds ------------------------------------------------------------------------------------------------------

    def run_started(self, config: Mapping[str, Any], finished: Sequence[RoundReport]) -> None:
        """Say from which round a resumed run goes on."""
        self._reports = list(finished)
        budget = config.get("active.budget", 0)
        self._n_schedule = (int(config.get("active.n_query", 0)), math.inf if budget == "all" else float(budget))
        if finished:
            self._line(f"resuming: {len(finished)} of {finished[0].n_rounds} rounds are finished")

    def round_started(self, round: int, n_labeled: int, n_pool: int, n_rounds: int) -> None:
        """Remember the round for the bars."""
        self._label = f"round {round + 1}/{n_rounds}"

    def round_finished(self, report: RoundReport) -> None:
        """One line: round, labels, balanced accuracy, seconds, time left."""
        self._reports.append(report)
        seconds = report.seconds
        accuracy = 100 * report.metrics.get("test_balanced_accuracy", float("nan"))
        left = self.seconds_left()
        self._line(
            f"round {report.round + 1:>2}/{report.n_rounds}   labels {report.n_labeled:>4}   "
            f"balanced accuracy {accuracy:4.1f} %   fit {_duration(seconds.get('fit', 0.0))}   "
            f"predict {_duration(seconds.get('predict', 0.0) + seconds.get('test', 0.0))}"
            + (f"   about {_duration(left)} left" if left > 0 else "")
        )

    def run_ended(self, error: BaseException | None) -> None:
        """Leave the terminal clean for what follows."""
        self.end()

    def seconds_left(self) -> float:
        """Estimated time for the remaining rounds.

        A fit's time grows in a line with its labels, a prediction's with the pool; both rates come from the
        finished rounds.
        """
        if not self._reports:
            return float("nan")
        last = self._reports[-1]
        n_query, budget = self._n_schedule
        budget = min(budget, last.n_pool + last.n_labeled)
        labels = [min(budget, last.n_labeled + n_query * step) for step in range(1, last.n_rounds - last.round)]
        fit = _line_through([(r.n_labeled, r.seconds.get("fit", 0.0)) for r in self._reports])
        scored = [r for r in self._reports if r.query] or self._reports
        per_knee = sum(r.seconds.get("predict", 0.0) for r in scored) / max(1, sum(r.n_pool for r in scored))
        test = sum(r.seconds.get("test", 0.0) for r in self._reports) / len(self._reports)
        n_pool = last.n_pool + last.n_labeled
        return sum(max(0.0, fit(n)) + test + (per_knee * (n_pool - n) if n < budget else 0.0) for n in labels)

    # -- inside a round ----------------------------------------------------------------------------------------------

    def begin(self, what: str, total: int, unit: str) -> None:
        """Open a bar."""
        self.end()
        self._what, self._unit, self._done, self._total = what, unit, 0, total
        self._started = self._logged_at = self._clock()
        if self._terminal:
            self._bar = tqdm(
                total=total,
                desc=f"{self._label} {what}",
                unit=f" {unit}",
                file=self._stream,
                leave=False,
                dynamic_ncols=True,
            )

    def advance(self, n: int, metrics: Mapping[str, float]) -> None:
        """Show steps per second; after an epoch, its loss and validation balanced accuracy."""
        shown = {"loss": metrics.get("train/loss"), "val BA": metrics.get("val/balanced_accuracy")}
        detail = ", ".join(f"{name} {value:.3f}" for name, value in shown.items() if value is not None)
        self._done += n
        if self._bar is not None:
            self._bar.set_postfix_str(detail, refresh=False)
            self._bar.update(n)
        elif self._clock() - self._logged_at >= LOG_EVERY:
            self._logged_at = self._clock()
            rate = self._done / max(1e-9, self._logged_at - self._started)
            steps = f"{self._done}/{self._total} {self._unit}, {rate:.1f}/s"
            self._line(f"{self._label} {self._what}: {steps}" + (f", {detail}" if detail else ""))

    def end(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _line(self, text: str) -> None:
        self.end()
        print(text, file=self._stream, flush=True)


@contextmanager
def count_progress(total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
    """A bar for a count on a terminal, nothing elsewhere; gives the function to call with each step."""
    with tqdm(total=total, unit=f" {unit}", file=sys.stderr, leave=False, disable=not sys.stderr.isatty()) as bar:

        def step(n: int) -> None:
            bar.update(n)

        yield step


def _line_through(points: Sequence[tuple[float, float]]) -> Callable[[float], float]:
    """Least-squares line; through the origin while there is only one x."""
    if len({x for x, _ in points}) == 1:
        points = [*points, (0.0, 0.0)]
    slope, intercept = linear_regression([x for x, _ in points], [y for _, y in points])
    return lambda x: intercept + slope * x


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
