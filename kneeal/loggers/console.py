"""Progress of a run: bars on a terminal, plain lines in a log."""

import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import linear_regression
from typing import Any, TextIO

from tqdm import tqdm

from kneeal.loop.events import FitProgress, LoopListener, RoundReport
from kneeal.stats.metrics import METRICS

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
        self._label = self._what = ""
        self._started = self._logged_at = 0.0
        self._same_steps = False  # whether every fit takes as many steps, however many labels it has
        self._spent: defaultdict[str, float] = defaultdict(float)  # seconds of this round, by what they were spent on
        self._fits: dict[int, float] = {}  # seconds of a round's fit, by its labels
        self._per_knee = math.inf  # seconds of the fastest prediction

    def run_started(self, config: Mapping[str, Any], finished: Sequence[RoundReport]) -> None:
        """Say from which round a run resumes."""
        self._same_steps = config.get("training.steps") is not None
        if finished:
            self._line(f"resuming: {len(finished)} of {finished[0].n_rounds} rounds are finished")

    def round_started(self, round: int, n_labeled: int, n_pool: int, n_rounds: int) -> None:
        """Remember the round for the bars."""
        self._label = f"round {round + 1}/{n_rounds}"
        self._what = ""
        self._spent.clear()

    def round_finished(self, report: RoundReport) -> None:
        """One line: round, labels, balanced accuracy, seconds, time left."""
        seconds, accuracy = report.seconds, METRICS["balanced_accuracy"]
        value = accuracy.factor * report.metrics.get(f"test_{accuracy.name}", math.nan)
        self._count_time()
        left = self._seconds_left(report)
        self._line(
            f"round {report.round + 1:>2}/{report.n_rounds}   labels {report.n_labeled:>4}   "
            f"{accuracy.title} {value:4.1f} {accuracy.unit}   fit {_duration(seconds.get('fit', 0.0))}   "
            f"predict {_duration(seconds.get('predict', 0.0) + seconds.get('test', 0.0))}"
            + (f"   about {_duration(left)} left" if left > 0 else "")
        )

    def run_ended(self, error: BaseException | None) -> None:
        """Leave the terminal clean for what follows."""
        self.end()

    def _seconds_left(self, report: RoundReport) -> float:
        """Estimated time for the rounds after `report`; 0 where this process has not seen a fit and a prediction.

        Encoding the knees, which is done once, does not count: a fit is timed from its first step until the test
        begins, with the setup between them in place of its own, and a knee by the fastest prediction.
        """
        for what, n in (("predict test", len(report.uncertainty)), ("predict pool", report.n_pool)):
            if n and what in self._spent:
                self._per_knee = min(self._per_knee, self._spent[what] / n)
        if "fit" in self._spent:
            self._fits[report.n_labeled] = self._spent["fit"]
        if not self._fits or math.isinf(self._per_knee):
            return 0.0
        n_rounds = report.n_rounds - report.round - 1
        labels = [report.n_labeled + len(report.query) * n for n in range(1, n_rounds + 1)]
        if self._same_steps:
            fitting = n_rounds * min(self._fits.values())
        else:
            fits = self._fits if len(self._fits) > 1 else {0: 0.0, **self._fits}
            slope, intercept = linear_regression(list(fits), list(fits.values()))
            fitting = sum(max(0.0, intercept + slope * n) for n in labels)
        predicted = len(report.uncertainty) * n_rounds
        if "predict pool" in self._spent:  # which the last round does not do
            predicted += sum(report.n_labeled + report.n_pool - n for n in labels[:-1])
        return fitting + self._per_knee * predicted

    def begin(self, what: str, total: int, unit: str) -> None:
        """Open a bar."""
        self._count_time()
        self.end()
        self._what, self._unit, self._done, self._total = what, unit, 0, total
        self._logged_at = self._started
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

    def _count_time(self) -> None:
        """Count the time until now for what was begun last."""
        now = self._clock()
        self._spent[self._what] += now - self._started
        self._started = now

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


@contextmanager
def count_progress(total: int | None, unit: str) -> Iterator[Callable[[int], Any]]:
    """A bar for a count on a terminal, nothing elsewhere; gives the function to call with each step."""
    with tqdm(total=total, unit=f" {unit}", file=sys.stderr, leave=False, disable=not sys.stderr.isatty()) as bar:
        yield bar.update


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
