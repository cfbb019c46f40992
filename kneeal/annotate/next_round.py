"""The next round from the readings of a store: training on them, and the next query.

A round can be computed while its last answers can still be taken back, in a folder of its own.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kneeal.annotate.store import open_store
from kneeal.annotate.training_process import AHEAD, COMPUTE, PROGRESS
from kneeal.build.loop import make_parts
from kneeal.exchange.answers import add_reasons
from kneeal.files import hold_lock, move_whole, sync, write_atomic
from kneeal.jobs.ask import tell_and_report
from kneeal.jobs.open_run import OpenRun, open_run
from kneeal.jobs.process import set_up_process
from kneeal.loop.events import FitProgress
from kneeal.loop.folder import ANSWERS, LOCK, ROUNDS_FOLDER, START
from kneeal.loop.writer import RunWriter


def next_round(run: Path, data: Path | None = None, *, order: Callable[[], bytes]) -> None:
    """Give the settled knees to the loop, close the round and make the next query.

    Killed at any instant, it does the same when it is called again: what was decided is in the store, and
    what the loop has taken is in the run folder.

    Args:
        run: The run folder.
        data: The data set, where it has moved.
        order: Waits for an order: PUBLISH, or COMPUTE and later PUBLISH.

    Raises:
        UserError: Another process works on the run, or there is nothing to continue with.
    """
    set_up_process()
    opened = open_run(run, data=data)
    opened = replace(opened, parts=make_parts(opened.config, opened.cohort, ProgressFile(run / PROGRESS)))
    ordered = order()
    with hold_lock(run / LOCK):
        take_over = None
        if ordered == COMPUTE:
            take_over = compute_ahead(opened)
            order()
        if take_over is None or not take_over():
            loop = opened.loop()
            state = loop.state
            if loop.missing and loop.tell(_decide(run, loop.missing)) is state:
                loop.close()
            loop.ask()


def tell_readings(run: Path, *, data: Path | None, close: bool) -> None:
    """Take the settled readings of the store as answers, without training: `kneeal tell RUN`.

    With `close`, the run continues without the knees that are not settled.

    Raises:
        UserError: Nobody has annotated the run, or another process works on it.
    """
    set_up_process()
    opened = open_run(run, data=data)
    with hold_lock(run / LOCK):
        loop = opened.loop()
        tell_and_report(opened, loop, _decide(run, loop.missing), replace=False, close=close)


def compute_ahead(opened: OpenRun) -> Callable[[], bool] | None:
    """Compute the next round from readings that can still be taken back. The run itself stays as it is.

    Returns:
        What makes the round the run's, unless an answer has changed since, and says whether it did; None if not every
        knee of the query is settled.
    """
    run, path = opened.folder, opened.path / AHEAD
    shutil.rmtree(path, ignore_errors=True)
    try:
        for part in (opened.path / name for name in (START, ROUNDS_FOLDER)):
            if part.is_dir():
                # A file is written under another name and moved into place, so nothing is ever written through a link.
                shutil.copytree(part.absolute(), path / part.name, copy_function=os.symlink)
    except OSError:  # a file system without links
        return None
    ahead = RunWriter(path)
    loop = replace(opened, folder=ahead).loop()
    before = loop.state
    with open_store(opened.path) as store:
        answers = store.settled(loop.missing)
    if not answers or len(answers) < len(loop.missing):
        return None
    after = loop.tell(answers)
    loop.ask()

    def take_over() -> bool:
        # After a query of unreadable knees alone there is nothing to train on, and no folder of its own.
        taken = _decide(opened.path, tuple(answers)) == answers and bool(after.labeled)
        if taken:  # the answers first, then the round as a whole: wherever this is cut short, the run resumes from them
            move_whole(ahead.query_folder(before) / ANSWERS, run.query_folder(before) / ANSWERS)
            place = run.query_folder(after)
            place.parent.mkdir(exist_ok=True)
            ahead.query_folder(after).replace(place)
            sync(place.parent)
            run.rebuild_rounds_csv()
        shutil.rmtree(path, ignore_errors=True)
        return taken

    return take_over


class ProgressFile(FitProgress):
    """Writes how far a round is, for the page to show."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._what = ""
        self._done = self._of = 0
        self._due = 0.0

    def begin(self, what: str, total: int, unit: str) -> None:
        """A fit or prediction begins."""
        self._what = {"fit": "training", "predict test": "testing"}.get(what, "choosing")
        self._done, self._of, self._due = 0, total, 0.0
        self.advance(0, {})

    def advance(self, n: int, metrics: Mapping[str, float]) -> None:
        """So many more epochs or knees."""
        self._done += n
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + 0.5
            write_atomic(self._path, json.dumps({"what": self._what, "done": self._done, "of": self._of}))


def _decide(run: Path, ids: Sequence[str]) -> dict[str, int | None]:
    """Close the settled knees among `ids` for good, and keep why some of them are unreadable; see `Store.decide`."""
    with open_store(run) as store:
        decided = store.decide(ids)
        add_reasons(run, {knee: why for knee, why in store.reasons().items() if knee in decided})
        return decided
