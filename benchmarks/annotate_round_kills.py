"""The server and its training are killed around the end of each round. Is an answer lost, or a query another one?

python benchmarks/annotate_round_kills.py --kills 20

A reader grades every knee, gives many of them a wrong grade first, and takes it back: also the last of a query,
so that some rounds that are computed ahead rest on withdrawn answers. Processes are forked from one that has imported
everything; what runs in them is what `kneeal annotate --auto` runs.
The same run without kills shows what is to come out.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.knee_site import make_run

from kneeal.annotate import supervisor as supervising
from kneeal.annotate.accounts import Accounts
from kneeal.annotate.assignment import ReadingPlan
from kneeal.annotate.next_round import next_round
from kneeal.annotate.request_models import Answer
from kneeal.annotate.schema import STORE
from kneeal.annotate.store import Store
from kneeal.annotate.training_process import AHEAD, watch_input
from kneeal.loop.folder import RunFolder

GRACE, PATIENCE = 1.0, 300.0


class Forked:
    """A `TrainingProcess` that is forked, with its imports done."""

    def __init__(self, command: object, run: Path) -> None:
        self._run, self._status = run, None
        read, self._orders = os.pipe()
        self.pid = fork(lambda: self._train(read))
        os.close(read)
        (run.parent / "training.pid").write_text(str(self.pid))

    def _train(self, read: int) -> None:
        os.setsid()
        os.dup2(read, 0)
        os.close(self._orders)
        next_round(self._run, order=watch_input().get)

    def order(self, what: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._orders, what)

    def poll(self) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def last_message(self) -> str:
        return "killed"

    def end(self) -> None:
        os.close(self._orders)
        if self.poll() is None:
            kill(self.pid)
            os.waitpid(self.pid, 0)
        shutil.rmtree(self._run / AHEAD, ignore_errors=True)


def fork(work: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_training(run: Path, server: int) -> bool:
    """Kill the training that a server has started; whether there is one."""
    try:
        pid = int((run.parent / "training.pid").read_text())
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return False
    if parent == server:
        kill(pid)
    return parent == server


def serve(run: Path) -> None:
    supervising.TrainingProcess, supervising.RETRY_SECONDS = Forked, 0.2
    store = Store(run / STORE)
    store.set_plan(ReadingPlan())
    supervisor = supervising.RoundSupervisor(run, store, auto=True, grace=GRACE)
    supervisor._pause = 0.2
    supervisor.start()
    while True:
        time.sleep(1)


class Reader:
    """Grades each knee with a grade of its own in the end, and counts what was acknowledged."""

    def __init__(self, run: Path, draw: random.Random) -> None:
        self.run, self.draw, self.nonce = run, draw, 0
        self.store = Store(run / STORE)
        self.store.set_plan(ReadingPlan())
        self.reader = Accounts(self.store).put("Ann", reads=True, adjudicates=True)
        self.answers: dict[str, int] = {}
        self.undone = 0

    def read_all(self) -> int:
        """Grade what there is to grade; the number of knees."""
        n = 0
        while (task := self.store.next(self.reader)) is not None:
            right = sum(map(ord, task.knee_id)) % 5
            if self.draw.random() < 0.4:
                self._answer(task, (right + 1) % 5)
                time.sleep(self.draw.uniform(0, GRACE / 2))
                self.nonce += 1
                task = self.store.undo(self.reader, nonce=f"{self.nonce:020d}")
                self.undone += 1
            self._answer(task, right)
            self.answers[task.knee_id] = right
            n += 1
        return n

    def _answer(self, task: object, kl: int) -> None:
        self.nonce += 1
        answer = Answer(task=task.id, picture=task.picture, nonce=f"{self.nonce:020d}", kl=kl)
        self.store.write(self.store.answering(self.reader, answer))


def read_run(run: Path, kills: list[str], draw: random.Random) -> tuple[Reader, list[str]]:
    """Serve and read a run to its end, with kills around the ends of its rounds; the reader, and the phases hit."""
    server = fork(lambda: serve(run))
    reader, hit, end = Reader(run, draw), [], time.monotonic() + PATIENCE
    while not RunFolder(run).finished:
        if time.monotonic() > end:
            raise TimeoutError(f"the run does not go on: {sorted(map(str, run.rglob('*.json')))}")
        if reader.read_all():
            end = time.monotonic() + PATIENCE
        elif kills:
            time.sleep(draw.uniform(0, 2.5 * GRACE))
            before = len(list(run.glob("rounds/*/query.json")))
            phase = "computing" if (run / AHEAD).is_dir() else "publishing or training"
            if kills[-1] == "server":
                kill(server)
                os.waitpid(server, 0)
                server = fork(lambda: serve(run))
            elif not kill_training(run, server):
                continue
            hit.append(f"{kills.pop()}, {phase}, round {before}")
        else:
            time.sleep(0.05)
    kill(server)
    os.waitpid(server, 0)
    return reader, hit


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20, help="of the server, and of the training")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        run = make_run(Path(name), 6, "active.n_query=4", "active.budget=98")
        quiet = Path(shutil.copytree(run, Path(name) / "quiet" / "run"))
        read_run(quiet, [], random.Random(1))
        kills = ["server", "training"] * options.kills
        draw.shuffle(kills)
        reader, hit = read_run(run, list(kills), draw)
        state, expected = RunFolder(run).latest_state(), RunFolder(quiet).latest_state()
        assert dict(state.labeled) == reader.answers == dict(expected.labeled), "an answer was lost or changed"
        assert list(state.labeled) == list(expected.labeled), "a query is another one"
        stored, current = reader.store.read("SELECT count(*), count(DISTINCT nonce) FROM answer")[0]
        n_queries = [len({*json.loads(p.read_text())["ids"]}) for p in run.glob("rounds/*/query.json")]
        leftovers = [*run.glob(AHEAD), *(p for p in run.rglob("*") if p.is_symlink())]
        assert stored == current == reader.nonce and not leftovers
    print(
        f"{len(hit) // 2} SIGKILL of the server and as many of the training, "
        f"{sum('computing' in h for h in hit)} of them while a round was computed ahead: {len(reader.answers)} answers "
        f"and {reader.undone} taken back, 0 lost, "
        f"0 doubled; {len(n_queries)} rounds with the queries of a run without kills"
    )


if __name__ == "__main__":
    main()
