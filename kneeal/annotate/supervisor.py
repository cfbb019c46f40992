"""The run behind the page: its pending query, and the training of the next round in its own process."""

import contextlib
import csv
import json
import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kneeal.annotate.store import Store
from kneeal.annotate.training_process import COMPUTE, LOG, PROGRESS, PUBLISH, TrainingProcess
from kneeal.errors import UserError
from kneeal.loop.folder import RunFolder

#: Number of knees left in a query at which a training process is made ready.
READY_AT = 5
#: Seconds between two attempts to train, doubled with each that fails.
RETRY_SECONDS, MAX_RETRY_SECONDS = 60.0, 3600.0
#: The page and the health address report a problem when the last check of the run is older than this many seconds.
STALE_SECONDS = 30.0
#: What a damaged file of a round raises. What the page shows beside the knees is left out then: it holds up no reader.
_DAMAGED = (UserError, OSError, ValueError, KeyError, TypeError, csv.Error)
logger = logging.getLogger("kneeal.annotate")


@dataclass(frozen=True)
class Pending:
    """The state of a run, as its folder has it."""

    ids: tuple[str, ...] = ()  #: Knees of the pending query; empty before it is made and after the last one.
    #: Answers that the run has, to these and to all earlier queries.
    answered: Mapping[str, int | None] = field(default_factory=dict)
    finished: bool = False  #: Whether the budget is spent.
    predicted: bool = False  #: Whether a network has predicted these knees.


def read_pending(run: Path) -> Pending:
    """The pending query of a run, without training anything."""
    folder = RunFolder(run)
    state = folder.latest_state()
    if state is None:
        return Pending()
    query = folder.query(state)
    answered: dict[str, int | None] = {**state.labeled, **dict.fromkeys(state.unreadable), **folder.answers(state)}
    if query is None:
        return Pending((), answered)
    predicted = bool(state.labeled and folder.query_probabilities(state.round))
    return Pending(query.ids, answered, not query.ids, predicted)


def read_prediction(run: Path, knee_id: str) -> list[float] | None:
    """The model's probabilities for a knee when it was last queried, None where no network queried it."""
    folder = RunFolder(run)
    for number in reversed(folder.evaluated()):
        with contextlib.suppress(*_DAMAGED):
            if (probs := folder.query_probabilities(number).get(knee_id)) is not None:
                return list(probs)
    return None


def read_accuracy(run: Path) -> list[tuple[int, float]]:
    """Labels and balanced test accuracy of each finished fit, as far as they can be read."""
    folder = RunFolder(run)
    found = []
    for number in folder.evaluated():
        with contextlib.suppress(*_DAMAGED):
            row = folder.metrics(number)["row"]
            if math.isfinite(accuracy := float(row["test_balanced_accuracy"])):
                found.append((int(row["n_labeled"]), accuracy))
    return found


@dataclass(eq=False)
class RoundSupervisor:
    """Keeps the store and the run together, and trains when enough answers are in.

    Errors are reported by `status` and retried; the answers are in the store all the while.
    """

    run: Path  #: The run folder.
    store: Store  #: Its readings.
    auto: bool = False  #: Whether training starts by itself.
    #: Share of a query that must be settled for that, in (0, 1]; the rest is carried into the next query.
    enough: float = 1.0
    grace: float = 0.0  #: Seconds after the last answer in which it can still be undone.
    command: Sequence[str] = ()  #: Takes the orders of a `TrainingProcess`.

    def __post_init__(self) -> None:
        """Take over the pending query."""
        self.process: TrainingProcess | None = None  # what trains, or waits for the order to
        self._computed_at: int | None = None  # number of the last answer when the process was to compute ahead
        self._publishing = False
        self._failed: str | None = None
        self._retry_at, self._pause = 0.0, RETRY_SECONDS
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: str | None = None
        self._checked_at = time.monotonic()
        self.pending = Pending()
        self.sync()

    def sync(self) -> None:
        """Take over what has changed in the run folder."""
        pending = read_pending(self.run)
        if pending != self.pending:
            self.store.sync(pending.ids, pending.answered)
        self.pending = pending

    def start(self) -> None:
        """Watch the run from now on, in a thread."""
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching the run and end a training in progress, which the next start begins again."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._end_process()

    def step(self) -> None:
        """Check on a training in progress, and start the next one when it is due."""
        process = self.process if self._publishing else None
        status = process.poll() if process is not None else None
        if process is not None and status is None:
            return
        self.sync()
        if process is not None:
            if status == 0:
                self._failed, self._pause = None, RETRY_SECONDS
            else:
                self._failed = process.last_message()
                self._retry_at = time.monotonic() + self._pause
                logger.error("training failed, see %s in the run folder; next attempt in %.0f s", LOG, self._pause)
                self._pause = min(2 * self._pause, MAX_RETRY_SECONDS)
            self._end_process()
        if self.auto and time.monotonic() >= self._retry_at:
            self._go_on()

    def again(self) -> None:
        """Try again at once after a failure."""
        self._retry_at = 0.0

    @property
    def age(self) -> float:
        """Seconds since the run was last checked without an error."""
        return time.monotonic() - self._checked_at

    def status(self, *, decides: bool) -> dict[str, Any]:
        """What the page shows.

        What anybody but an adjudicator is told depends on how many readings are in, never on whether they agree.
        """
        counts, pending = self.store.counts(), self.pending
        status: dict[str, Any] = {"auto": self.auto, "accuracy": read_accuracy(self.run)}
        status |= dict.fromkeys(("message", "retry", "problem", "progress"))
        if pending.finished:
            status["phase"] = "finished"
        elif self._publishing:
            status["phase"] = "training"
            with contextlib.suppress(OSError, ValueError):
                status["progress"] = json.loads((self.run / PROGRESS).read_text(encoding="utf-8"))
        elif self._failed is not None:
            retry = max(0, round(self._retry_at - time.monotonic()))
            status |= {"phase": "failed", "message": self._failed, "retry": retry}
        else:
            status["phase"] = "reading" if counts["open"] and pending.ids else "read"
        if self._thread is not None and (self._error or self.age > STALE_SECONDS):
            status["problem"] = {"text": self._error or "it does not answer", "age": round(self.age)}
        if decides:
            n = len(pending.ids)
            settled = counts["settled"] + counts["closed"] if n else 0
            status |= {"asked": n, "settled": settled, "disagreed": counts["disagreed"]}
        return status

    @property
    def readings_stand(self) -> bool:
        """Whether all readings are in, and could be taken back for a while.

        From then on, whether a training starts reveals whether the readers agree. A reader who could still change a
        reading would learn another's grade from it.
        """
        return self.auto and bool(self.pending.ids) and not self.store.counts()["open"] and self._grace_is_over()

    def _grace_is_over(self) -> bool:
        return self.store.clock() - self.store.last_answer()[1] >= self.grace

    def _go_on(self) -> None:
        """Let a training process do what the answers so far allow."""
        last = self.store.last_answer()[0]
        if self._computed_at not in (None, last):
            self._end_process()  # an answer has come or was taken back: nothing remains of what was computed without it
        n, counts = len(self.pending.ids), self.store.counts()
        settled = counts["settled"] + counts["closed"]
        enough = settled >= math.ceil(self.enough * n) and (settled == n or counts["graded"] > 0)
        if not n:
            if not self.pending.finished:
                self.publish()
        elif enough and self._grace_is_over():
            self.publish()
        elif enough or n - settled <= READY_AT:
            process = self._get_process()
            if settled == n and self._computed_at is None:
                self._computed_at = last
                process.order(COMPUTE)

    def publish(self) -> None:
        """Close the settled knees for good, and have the next round made of them."""
        # Closed before anybody can see that the training begins: from then on no answer can be taken back.
        self.store.decide(self.pending.ids)
        self._get_process().order(PUBLISH)
        self._publishing = True
        logger.info("training begins")

    def _get_process(self) -> TrainingProcess:
        self.process = self.process or TrainingProcess(self.command, self.run)
        return self.process

    def _end_process(self) -> None:
        if self.process is not None:
            self.process.end()
        self.process, self._computed_at, self._publishing = None, None, False

    def _watch(self) -> None:
        while not self._stop.wait(0.1 if self._publishing or self._computed_at is not None else 1.0):
            try:
                self.step()
                self._error, self._checked_at = None, time.monotonic()
            except Exception as error:  # if this thread died, every reader would be stuck without knowing why
                if str(error) != self._error:
                    logger.exception("the run could not be checked; trying again every second")
                self._error = str(error).partition("\n")[0]
