"""The next round from the readings of a store: training on them, and the next query."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from kneeal.annotate.ahead import compute_ahead, decide
from kneeal.annotate.training_process import COMPUTE, PROGRESS
from kneeal.build.loop import make_plan
from kneeal.files import hold, write_atomic
from kneeal.jobs.ask import tell_and_report
from kneeal.jobs.open_run import open_run
from kneeal.jobs.process import set_up_process
from kneeal.loop.events import FitProgress
from kneeal.loop.folder import LOCK


class ProgressFile(FitProgress):
    """Writes how far a round is, for the page to show."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._what = ""
        self._done = self._of = 0
        self._written_at = 0.0

    def begin(self, what: str, total: int, unit: str) -> None:
        """A fit or prediction begins."""
        self._what = {"fit": "training", "predict test": "testing"}.get(what, "choosing")
        self._done, self._of = 0, total
        self._write()

    def advance(self, n: int, metrics: Mapping[str, float]) -> None:
        """So many more epochs or knees."""
        self._done += n
        if time.monotonic() - self._written_at > 0.5:
            self._write()

    def _write(self) -> None:
        self._written_at = time.monotonic()
        write_atomic(self._path, json.dumps({"what": self._what, "done": self._done, "of": self._of}))


def next_round(run: Path, data: Path | None = None, *, order: Callable[[], bytes]) -> None:
    """Give the settled knees to the loop, close the round and make the next query.

    Killed at any instant, it does the same when it is called again: what was decided is in the store, and
    what the loop has taken is in the run folder.

    Args:
        run: The run folder.
        data: The data set, where it has moved.
        order: Waits for an order: PUBLISH, or COMPUTE and later PUBLISH.

    Raises:
        UserError: Another process works on the run, or there is nothing to go on with.
    """
    set_up_process()
    opened = open_run(run, data=data)
    opened = replace(opened, plan=make_plan(opened.config, opened.cohort, ProgressFile(run / PROGRESS)))
    ordered = order()
    with hold(run / LOCK):
        ahead = None
        if ordered == COMPUTE:
            ahead = compute_ahead(opened)
            order()
        if ahead is None or not ahead.take_over(opened):
            loop = opened.loop()
            state = loop.state
            if loop.missing and loop.tell(decide(run, loop.missing)) is state:
                loop.close()
            loop.ask()


def tell_readings(run: Path, *, data: Path | None, close: bool) -> None:
    """Take the settled readings of the store as answers, without training: `kneeal tell RUN`.

    With `close`, the run goes on without the knees that are not settled.

    Raises:
        UserError: Nobody has annotated the run, or another process works on it.
    """
    set_up_process()
    opened = open_run(run, data=data)
    with hold(run / LOCK):
        loop = opened.loop()
        tell_and_report(opened, loop, decide(run, loop.missing), replace=False, close=close)
