"""The run behind the page: its pending query, and the next round in a process of its own."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kneeal.annotate.store import Store
from kneeal.errors import UserError
from kneeal.loop.folder import RunFolder

PROGRESS, LOG = "annotate_progress.json", "annotate.log"
logger = logging.getLogger("kneeal.annotate")


@dataclass(frozen=True)
class Pending:
    """What a run folder says.

    Attributes:
        round: The round in work.
        ids: Knees of the pending query; empty before it is made and after the last one.
        answered: Answers that the run has, to these and to all earlier queries.
        finished: Whether the budget is spent.
        place: Folder of the query.
    """

    round: int = 0
    ids: tuple[str, ...] = ()
    answered: Mapping[str, int | None] = field(default_factory=dict)
    finished: bool = False
    place: Path | None = None


def read_pending(run: Path) -> Pending:
    """The pending query of a run, without training anything."""
    folder = RunFolder(run)
    state = folder.latest_state()
    if state is None:
        return Pending()
    query, place = folder.query(state), folder.place(state)
    answered: dict[str, int | None] = {**state.labeled, **dict.fromkeys(state.unreadable), **folder.answers(state)}
    if query is None:
        return Pending(state.round, (), answered, False, place)
    return Pending(state.round, query.ids, answered, not query.ids, place)


def read_prediction(run: Path, knee_id: str) -> list[float] | None:
    """The model's probabilities for a knee when it was asked for last, None where no network asked for it."""
    folder = RunFolder(run)
    for number in reversed(folder.evaluated()):
        if (probs := folder.query_probabilities(number).get(knee_id)) is not None:
            return list(probs)
    return None


def read_accuracy(run: Path) -> list[tuple[int, float]]:
    """Labels and balanced test accuracy of each finished fit."""
    folder = RunFolder(run)
    rows = [folder.metrics(number)["row"] for number in folder.evaluated()]
    return [(int(row["n_labeled"]), float(row["test_balanced_accuracy"])) for row in rows]


class RoundSupervisor:
    """Keeps the store and the run together, and starts the next round when enough answers are in.

    Args:
        run: The run folder.
        store: Its readings.
        auto: Whether rounds start by themselves.
        enough: Share of a query that must be settled for that, in (0, 1]; the rest is carried into the next query.
        command: Starts the next round; for tests.
    """

    def __init__(
        self, run: Path, store: Store, *, auto: bool = False, enough: float = 1.0, command: Sequence[str] | None = None
    ) -> None:
        self._run = run
        self._store = store
        self._auto = auto
        self._enough = enough
        self._command = list(command or [sys.executable, "-m", "kneeal.annotate.next_round", str(run)])
        self._process: subprocess.Popen[bytes] | None = None
        self._failed: str | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()
        self.pending = Pending()
        self.sync()

    def sync(self) -> None:
        """Take over from the run folder what changed there."""
        pending = read_pending(self._run)
        if pending != self.pending:
            self._store.sync(pending.ids, pending.answered)
        self.pending = pending

    def start(self) -> None:
        """Look after the run from now on, in a thread."""
        self._thread = threading.Thread(target=self._watch, name="rounds", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking after the run; a round in work is stopped, and begun again with the next start."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def step(self) -> None:
        """See to the round in work, and start the next one where it is due."""
        with self._guard:
            if self._process is not None:
                status = self._process.poll()
                if status is None:
                    return
                self._process = None
                if status:
                    self._failed = _last_words(self._run / LOG)
                    logger.error("the next round could not be made; see %s in the run folder", LOG)
            self.sync()
            if self._auto and self._failed is None and self._due():
                self._begin()

    def again(self) -> None:
        """Forget that the last attempt failed."""
        self._failed = None

    def status(self) -> dict[str, Any]:
        """What the page shows: phase, round and progress."""
        counts = self._store.counts()
        n = len(self.pending.ids)
        settled = counts["settled"] + counts["closed"] if n else 0
        phase = "grading" if n and settled < n else "waiting"
        if self.pending.finished:
            phase = "finished"
        elif self._process is not None:
            phase = "training"
        elif self._failed is not None:
            phase = "failed"
        return {
            "phase": phase,
            "round": self.pending.round,
            "asked": n,
            "settled": settled,
            "disagreed": counts["disagreed"],
            "auto": self._auto,
            "message": self._failed if phase == "failed" else None,
            "progress": _read_progress(self._run / PROGRESS) if phase == "training" else None,
            "accuracy": read_accuracy(self._run),
        }

    def _due(self) -> bool:
        if self.pending.finished:
            return False
        n = len(self.pending.ids)
        if not n:
            return True
        counts = self._store.counts()
        settled = counts["settled"] + counts["closed"]
        return settled >= math.ceil(self._enough * n) and (settled == n or counts["graded"] > 0)

    def _begin(self) -> None:
        (self._run / PROGRESS).unlink(missing_ok=True)
        with (self._run / LOG).open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ
            )
        logger.info("the next round is being made")

    def _watch(self) -> None:
        while not self._stop.wait(1.0):
            try:
                self.step()
            except (UserError, OSError) as error:
                logger.error("%s", error)


def _read_progress(path: Path) -> dict[str, Any] | None:
    try:
        progress: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return progress


def _last_words(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return "no log"
    said = [line for line in lines if line.startswith("kneeal: ")]
    return (said or lines or ["nothing was said"])[-1].removeprefix("kneeal: ")
