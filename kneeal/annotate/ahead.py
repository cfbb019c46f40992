"""A round that is computed while its last answers can still be taken back, in a folder of its own."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kneeal.annotate.store import open_store
from kneeal.annotate.training_process import AHEAD
from kneeal.exchange.answers import add_reasons
from kneeal.files import move_whole, sync
from kneeal.jobs.open_run import OpenRun
from kneeal.loop.folder import ANSWERS, ROUNDS_FOLDER, START
from kneeal.loop.writer import RunWriter
from kneeal.pool import PoolState


@dataclass(frozen=True)
class RoundAhead:
    """A round that the run may take over."""

    folder: RunWriter  #: Where it lies; all earlier files of the run are links there.
    before: PoolState  #: The state whose query is answered.
    after: PoolState  #: The state that the round trained on.
    #: What was answered since the run last took answers; None for a knee that is unreadable.
    answers: Mapping[str, int | None]

    def take_over(self, opened: OpenRun) -> bool:
        """Make the round the run's, unless an answer has changed since; whether it was made so.

        The answers first, then the round as a whole: wherever this is cut short, the run goes on from its answers.
        """
        run, ahead = opened.folder, self.folder
        # After a query of unreadable knees alone there is nothing to train on, and no folder of its own.
        taken = decide(opened.path, tuple(self.answers)) == self.answers and bool(self.after.labeled)
        if taken:
            move_whole(ahead.query_folder(self.before) / ANSWERS, run.query_folder(self.before) / ANSWERS)
            place = run.query_folder(self.after)
            place.parent.mkdir(exist_ok=True)
            ahead.query_folder(self.after).replace(place)
            sync(place.parent)
            run.rebuild_rounds_csv()
        shutil.rmtree(ahead.path, ignore_errors=True)
        return taken


def compute_ahead(opened: OpenRun) -> RoundAhead | None:
    """Compute the next round from readings that can still be taken back. The run itself stays as it is.

    Returns:
        The round; None if not every knee of the query is settled.
    """
    path = opened.path / AHEAD
    shutil.rmtree(path, ignore_errors=True)
    try:
        for part in (opened.path / name for name in (START, ROUNDS_FOLDER)):
            if part.is_dir():
                # A file is written anew and moved into its place, so nothing is ever written through a link.
                shutil.copytree(part.absolute(), path / part.name, copy_function=os.symlink)
    except OSError:  # a file system without links
        return None
    loop = replace(opened, folder=RunWriter(path)).loop()
    before = loop.state
    with open_store(opened.path) as store:
        answers = store.settled(loop.missing)
    if not answers or len(answers) < len(loop.missing):
        return None
    loop.tell(answers)
    loop.ask()
    return RoundAhead(loop.folder, before, loop.state, answers)


def decide(run: Path, ids: tuple[str, ...] | list[str]) -> dict[str, int | None]:
    """Close the settled knees among `ids` for good, and keep why some of them are unreadable; see `Store.decide`."""
    with open_store(run) as store:
        decided = store.decide(ids)
        add_reasons(run, {knee: why for knee, why in store.reasons().items() if knee in decided})
        return decided
