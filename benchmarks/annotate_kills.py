"""The annotation server is killed again and again, during answers, training and backups. Is anything lost or stuck?

python benchmarks/annotate_kills.py --kills 50

Two readers answer, half a second a knee, as their pages do: an answer that was not acknowledged is sent again. A third
process backs the store up. Half of the kills are SIGKILL, half SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import signal
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.knee_site import Reader, make_run

PATIENCE = 300.0


def fork_servers(orders: Connection, run: str, images: str, port: int) -> None:
    """A process that has imported everything, and forks a server whenever one is ordered."""
    from kneeal.annotate.options import ServeOptions
    from kneeal.annotate.serve import serve
    from kneeal.jobs.process import exit_on_signals

    options = ServeOptions(["Ann", "Ben"], reads=2, repeat=0.2, auto=True, images=Path(images), port=port)
    while orders.recv():
        pid = os.fork()
        if pid == 0:
            orders.close()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            with exit_on_signals("the next one follows"):
                serve(Path(run), options)
            os._exit(0)
        orders.send(pid)
        os.waitpid(pid, 0)
        orders.send("ended")


class Page(threading.Thread):
    """A reader's page: each answer is sent again, with its nonce, until it is acknowledged."""

    def __init__(self, name: str, port: int, secret: str) -> None:
        super().__init__(daemon=True)
        self.name, self.port = name, port
        self.reader = Reader(port, secret)
        self.acknowledged: dict[int, int] = {}
        self.sent = 0
        self.over = self.busy = False

    def run(self) -> None:
        body: dict[str, Any] | None = None
        while not self.over:
            try:
                if body is None:
                    task = self.reader.call("GET", "/api/next")[1]["task"]
                    if task is None:
                        self.busy = False
                        time.sleep(0.2)
                        continue
                    self.busy = True
                    self.sent += 1
                    body = self.reader.body(task, task["id"] % 5 if task["adjudication"] else 1 + task["id"] % 3 // 2,
                                            f"{self.name}-{self.sent:020d}")  # fmt: skip
                status, said, _ = self.reader.call("POST", "/api/answer", body)
                if status == 200:
                    self.acknowledged[body["task"]] = body["kl"]
                elif status < 500 and "closed" not in str(said) and "before you" not in str(said):
                    raise AssertionError(said)
                if status < 500:
                    body = None
                time.sleep(random.uniform(0.2, 0.8))
            except (OSError, http.client.HTTPException, KeyError, TypeError):
                time.sleep(0.05)
                with contextlib.suppress(OSError):
                    self.reader.connect()


def wait_for(condition: Any, what: str) -> float:
    """Seconds until something is so."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > PATIENCE:
            raise TimeoutError(what)
        time.sleep(0.02)
    return time.monotonic() - start


def trainings(run: Path) -> list[int]:
    """Processes that train this run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"kneeal.annotate.training_process" in words and str(run).encode() in words:
                found.append(int(path.parent.name))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50, help="of each kind")
    options = parser.parse_args()
    draw = random.Random(15)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = make_run(folder, 60, "active.n_query=10", "active.budget=90")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        orders, theirs = Pipe()
        zygote = Process(target=fork_servers, args=(theirs, str(run), str(folder / "images"), port), daemon=True)
        zygote.start()

        def up() -> bool:
            with socket.socket() as knock:
                return knock.connect_ex(("127.0.0.1", port)) == 0

        def start() -> int:
            orders.send(True)
            pid = int(orders.recv())
            wait_for(up, "the server")
            return pid

        pid = start()
        from kneeal.annotate.accounts import Accounts
        from kneeal.annotate.serve import back_up
        from kneeal.annotate.store import Store

        store = Store(run / "annotate.sqlite")
        accounts = Accounts(store)
        pages = [Page(n, port, accounts.link(accounts.find(n).id)) for n in ("Ann", "Ben")]
        store.close()
        for page in pages:
            page.start()
        done = {signal.SIGKILL: 0, signal.SIGTERM: 0}
        in_training = in_answers = backups = 0
        for kill in [signal.SIGKILL, signal.SIGTERM] * options.kills:
            training = bool(trainings(run))
            time.sleep(draw.choice([0.3, 1.0, 3.0]) if not training else draw.choice([0.5, 4.0, 12.0, 40.0]))
            backup: Process | None = None
            if kill == signal.SIGKILL or draw.random() < 0.5:
                target = folder / f"backup-{backups}.sqlite"
                backup = Process(target=back_up, args=(run, target))
                backup.start()
                time.sleep(draw.random() * 0.05)
            in_training += bool(trainings(run))
            in_answers += any(page.busy for page in pages)
            os.kill(pid, kill)
            assert orders.recv() == "ended"
            done[kill] += 1
            if backup is not None:
                backup.join()
                copy = sqlite3.connect(target)
                assert copy.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
                copy.close()
                backups += 1
            wait_for(lambda: not trainings(run), "the end of the training")
            if kill == signal.SIGTERM and backup is None:
                assert not list(run.glob("annotate.sqlite-*")), "the store is not whole in one file"
            promised = {**pages[0].acknowledged, **pages[1].acknowledged}
            pid = start()
            db = sqlite3.connect(f"file:{run / 'annotate.sqlite'}?mode=ro", uri=True)
            kept = dict(db.execute("SELECT task, kl FROM answer WHERE id IN (SELECT current FROM task)").fetchall())
            db.close()
            lost = [task for task, kl in promised.items() if kept.get(task) != kl]
            assert not lost, lost
        before = sum(len(page.acknowledged) for page in pages)
        watch = Reader(port)
        watch.cookie, watch.csrf = pages[0].reader.cookie, pages[0].reader.csrf
        seconds = wait_for(
            lambda: watch.call("GET", "/api/status")[1]["phase"] == "finished"
            or sum(len(page.acknowledged) for page in pages) > before, "the next answer"
        )  # fmt: skip
        for page in pages:
            page.over = True
        for page in pages:
            page.join(60)
        os.kill(pid, signal.SIGTERM)
        orders.recv()
        orders.send(False)
        db = sqlite3.connect(run / "annotate.sqlite")
        stored, distinct, doubled = db.execute(
            "SELECT count(*), count(DISTINCT nonce), count(*) - count(DISTINCT task) FROM answer"
        ).fetchone()
        acknowledged = sum(len(page.acknowledged) for page in pages)
        rounds = json.loads((sorted((run / "rounds").glob("*/state.json"))[-1]).read_text())["round"]
        db.close()
    print(
        f"{done[signal.SIGKILL]} SIGKILL and {done[signal.SIGTERM]} SIGTERM, {in_answers} of them while answering, "
        f"{in_training} while training, {backups} backups: {acknowledged} answers acknowledged, {stored} stored, "
        f"0 lost, {stored - distinct + doubled} doubled, 0 trainings left behind; round {rounds} "
        f"reached, going on {seconds:.0f} s after the last start"
    )


if __name__ == "__main__":
    main()
