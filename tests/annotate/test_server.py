"""The server as a process of its own: killed, restarted, and going on with the loop by itself."""

from __future__ import annotations

import csv
import http.client
import json
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the page needs the extra kneeal[annotate]")

from helpers.commands import done, kneeal, refused
from helpers.knee_site import Reader, Site, make_run

from kneeal.annotate.accounts import Accounts
from kneeal.annotate.answers import Answer
from kneeal.annotate.schema import STORE
from kneeal.annotate.store import Store
from kneeal.annotate.supervisor import RoundSupervisor, read_pending

# Limits are for a loaded machine, where the imports of one server can take a minute; nothing waits for them otherwise.
pytestmark = pytest.mark.timeout(900)
PATIENCE = 400.0


def rows(run: Path, query: str) -> list[tuple[Any, ...]]:
    store = Store(run / STORE)
    try:
        return [tuple(row) for row in store.read(query)]
    finally:
        store.close()


def test_kill_nine_in_the_middle_of_200_answers_loses_none(tmp_path: Path) -> None:
    run = make_run(tmp_path, 92)
    site = Site(run, "--reader", "Ann", "--reader", "Ben", "--reads", "2")
    readers = [Reader(site.port, site.links[name]) for name in ("Ann", "Ben")]
    acknowledged: list[list[tuple[int, int]]] = [[], []]
    sent: list[dict[str, Any] | None] = [None, None]

    def read(k: int, most: int) -> None:
        """Answer until the server dies, like a page: the same request is sent again after the restart."""
        reader = readers[k]
        try:
            while len(acknowledged[k]) < most:
                if sent[k] is None:
                    task = reader.call("GET", "/api/next")[1]["task"]
                    if task is None:
                        return
                    nonce = f"{k}-{len(acknowledged[k]):020d}"
                    sent[k] = {"task": task["id"], "seen": task["seen"], "nonce": nonce, "kl": task["id"] % 5}
                body = sent[k]
                assert body is not None
                status, said, _ = reader.call("POST", "/api/answer", body)
                assert status == 200, said
                acknowledged[k].append((body["task"], body["kl"]))
                sent[k] = None
        except (OSError, http.client.HTTPException):
            return

    def both(most: int) -> list[threading.Thread]:
        threads = [threading.Thread(target=read, args=(k, most)) for k in (0, 1)]
        for thread in threads:
            thread.start()
        return threads

    threads = both(10**6)
    while len(acknowledged[0]) + len(acknowledged[1]) < 60:
        time.sleep(0.01)
    site.kill()
    for thread in threads:
        thread.join()
    kept = set(rows(run, "SELECT task, kl FROM answer"))
    promised = {*acknowledged[0], *acknowledged[1]}
    assert promised <= kept and len(kept - promised) <= 2  # at most what was in flight
    assert rows(run, "PRAGMA integrity_check") == [("ok",)]
    with site:
        site.start()
        for reader in readers:
            reader.connect()  # the cookie still holds
        for thread in both(10**6):
            thread.join()
        backup = tmp_path / "backup.sqlite"
        done("annotate", run, "--backup", backup, "--table", tmp_path / "readings.csv")  # while it runs
        refused(kneeal("annotate", run, "--backup", backup), "is there already")
        refused(kneeal("annotate", run, "--port", str(site.port)), "another process works on")
    table = list(csv.DictReader((tmp_path / "readings.csv").open()))
    firsts = [row for row in table if row["kind"] == "first"]
    assert len(firsts) == 184 and all(row["holds"] == "1" for row in firsts)
    assert rows(run, "SELECT count(*), count(DISTINCT task) FROM answer")[0] == (len(table), len(table))
    copy = sqlite3.connect(backup)
    assert copy.execute("SELECT count(*) FROM answer").fetchone()[0] == len(table)


def test_the_loop_goes_on_by_itself(tmp_path: Path) -> None:
    run = make_run(tmp_path, 8)
    seen: list[str] = []
    with Site(run, "--reader", "Ann", "--auto", "--enough", "0.75") as site:
        ann = Reader(site.port, site.links["Ann"])
        first = ann.call("GET", "/api/next")[1]
        assert first["left"] == 8
        task, n = first["task"], 0
        while task is not None and n < 6:  # enough, and two are left open
            n += 1
            status, said = ann.answer(task, n % 5, f"{n:032d}")
            assert status == 200
            task = said["task"]
        end = time.monotonic() + PATIENCE
        status = {}
        while time.monotonic() < end:
            status = ann.call("GET", "/api/status")[1]
            if status["asked"] and (run / "rounds/000/query.json").is_file() and status["phase"] != "training":
                break
            assert status["phase"] in ("grading", "training", "waiting"), status
            time.sleep(0.1)
        assert status["accuracy"][0][0] == 6
        second = json.loads((run / "rounds/000/query.json").read_text())["ids"]
        start = json.loads((run / "start/query.json").read_text())["ids"]
        answered = set(json.loads((run / "start/answers.json").read_text()))
        assert len(answered) == 6 and set(second[:2]) == set(start) - answered  # carried, not asked anew
        assert set(second[2:]).isdisjoint(start) and len(second) == 4
        end = time.monotonic() + PATIENCE
        while ann.call("GET", "/api/next")[1]["left"] != 4 and time.monotonic() < end:
            time.sleep(0.1)
        assert ann.call("GET", "/api/next")[1]["left"] == 4
        status = ann.call("GET", "/api/status")[1]  # what was read before does not count for the new query
        assert (status["phase"], status["asked"], status["settled"]) == ("grading", 4, 0)
    knees = rows(run, "SELECT knee_id, count(*) FROM knee JOIN task ON task.knee = knee.id GROUP BY knee.id")
    assert all(n == 1 for _, n in knees)
    seen += [knee for knee, _ in knees]
    assert len(seen) == len(set(seen))


def test_readings_are_told_by_hand(tmp_path: Path) -> None:
    run = make_run(tmp_path, 6)
    refused(kneeal("tell", run), "nobody has annotated")
    store = Store(run / STORE)
    supervisor = RoundSupervisor(run, store)
    ann = Accounts(store).add("Ann")
    for k in range(5):
        task = store.next(ann)
        assert task is not None
        store.write(store.answering(ann, Answer(task.id, f"{k:020d}", None, kl=k)))
    assert "1 knees are still to be answered" in done("tell", run)
    assert "closed with 5 knees graded; 1 open" in done("tell", run, "--close")
    store.close()
    assert read_pending(run).ids == () and supervisor.pending.ids != ()


def test_a_failed_round_is_said_and_keeps_the_answers(tmp_path: Path) -> None:
    run = make_run(tmp_path, 6)
    store = Store(run / STORE)
    broken = [sys.executable, "-c", "import sys; print('kneeal: no space left', file=sys.stderr); sys.exit(2)"]
    supervisor = RoundSupervisor(run, store, auto=True, command=broken)
    ann = Accounts(store).add("Ann")
    k = 0
    while (task := store.next(ann)) is not None:
        k += 1
        store.write(store.answering(ann, Answer(task.id, f"{k:020d}", None, kl=1)))
    supervisor.step()
    assert supervisor.status()["phase"] == "training"
    end = time.monotonic() + PATIENCE
    while supervisor.status()["phase"] != "failed" and time.monotonic() < end:
        time.sleep(0.05)
        supervisor.step()
    assert supervisor.status()["message"] == "no space left"
    assert store.counts()["settled"] == 6
    store.close()


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing is done to."""
    return make_run(tmp_path_factory.mktemp("idle"), 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--reads", "0"], "--reads 0"),
        (["--reads", "3", "--reader", "Ann"], "--reads 3 with 1 reader"),
        (["--repeat", "1.5"], "--repeat 1.5"),
        (["--enough", "0"], "--enough 0"),
        (["--port", "0"], "--port 0"),
        (["--reader", " "], "a reader called"),
        (["--public-url", "x"], "--public-url x"),
    ],
)
def test_a_wrong_option(idle: Path, options: list[str], message: str) -> None:
    refused(kneeal("annotate", idle, *options), message)
