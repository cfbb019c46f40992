"""The server as a process of its own: killed, restarted, and going on with the loop by itself."""

from __future__ import annotations

import csv
import http.client
import json
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the page needs the extra kneeal[annotate]")

from helpers.commands import done, kneeal, refused
from helpers.knee_site import Reader, Site, make_run

from kneeal.annotate.accounts import Accounts
from kneeal.annotate.assignment import ReadingPlan
from kneeal.annotate.request_models import Answer
from kneeal.annotate.schema import STORE, connect
from kneeal.annotate.store import Store
from kneeal.annotate.supervisor import Pending, RoundSupervisor, read_pending
from kneeal.annotate.training_process import AHEAD

# Limits are for a loaded machine, where the imports of one server can take a minute; nothing waits for them otherwise.
pytestmark = pytest.mark.timeout(900)
PATIENCE = 400.0


def rows(run: Path, query: str) -> list[tuple[Any, ...]]:
    store = Store(run / STORE)
    try:
        return [tuple(row) for row in store.read(query)]
    finally:
        store.close()


def until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


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
                    sent[k] = reader.body(task, task["id"] % 5, f"{k}-{len(acknowledged[k]):020d}")
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
        refused(kneeal("annotate", run, "--backup", backup), "already exists")
        refused(kneeal("annotate", run, "--port", str(site.port)), "another process is working on")
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
            if (run / "rounds/000/query.json").is_file() and status["phase"] != "training":
                break
            assert status["phase"] in ("reading", "training", "read"), status
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
        assert status["phase"] == "reading"
    knees = rows(run, "SELECT knee_id, count(*) FROM knee JOIN task ON task.knee = knee.id GROUP BY knee.id")
    assert all(n == 1 for _, n in knees)
    seen += [knee for knee, _ in knees]
    assert len(seen) == len(set(seen))


def test_readings_are_told_by_hand(tmp_path: Path) -> None:
    run = make_run(tmp_path, 6)
    refused(kneeal("tell", run), "nobody has annotated")
    store = Store(run / STORE)
    store.set_plan(ReadingPlan())
    supervisor = RoundSupervisor(run, store)
    ann = Accounts(store).put("Ann", reads=True, adjudicates=True)
    for k in range(5):
        task = store.next(ann)
        assert task is not None
        store.write(store.answering(ann, Answer(task=task.id, picture=task.picture, nonce=f"{k:020d}", kl=k)))
    assert "1 knee still to be answered" in done("tell", run)
    assert "closed with 5 knees graded; 1 open" in done("tell", run, "--close")
    store.close()
    assert read_pending(run).ids == () and supervisor.pending.ids != ()


def test_a_failed_round_is_said_and_keeps_the_answers(tmp_path: Path) -> None:
    run = make_run(tmp_path, 6)
    store = Store(run / STORE)
    broken = [sys.executable, "-c", "import sys; print('kneeal: no space left', file=sys.stderr); sys.exit(2)"]
    supervisor = RoundSupervisor(run, store, auto=True, command=broken)
    ann = Accounts(store).put("Ann", reads=True, adjudicates=True)
    k = 0
    while (task := store.next(ann)) is not None:
        k += 1
        store.write(store.answering(ann, Answer(task=task.id, picture=task.picture, nonce=f"{k:020d}", kl=1)))
    supervisor.step()
    assert supervisor.status(decides=True)["phase"] == "training"
    end = time.monotonic() + PATIENCE
    while supervisor.status(decides=True)["phase"] != "failed" and time.monotonic() < end:
        time.sleep(0.05)
        supervisor.step()
    assert supervisor.status(decides=True)["message"] == "no space left"
    assert store.counts()["closed"] == 6  # no answer can be changed once a training has begun
    store.close()


def test_the_thread_survives_a_locked_store_and_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path, 6)
    store = Store(run / STORE, timeout=0.05)
    supervisor = RoundSupervisor(run, store, auto=True, command=[sys.executable, "-c", "raise SystemExit(0)"])
    ann = Accounts(store).put("Ann", reads=True, adjudicates=True)
    supervisor.start()
    other = connect(run / STORE, create=False)  # as a backup program that locks the whole file
    other.execute("BEGIN EXCLUSIVE")
    supervisor.pending = Pending()  # so that the next look writes to the store
    until(lambda: supervisor.status(decides=False)["problem"], "the problem on the page")
    problem = supervisor.status(decides=False)["problem"]
    assert problem["text"] == "database is locked" and problem["age"] >= 1
    other.execute("ROLLBACK")
    until(lambda: supervisor.status(decides=False)["problem"] is None, "the recovery")
    k = 0
    while (task := store.next(ann)) is not None:
        k += 1
        store.write(store.answering(ann, Answer(task=task.id, picture=task.picture, nonce=f"{k:020d}", kl=1)))
    until(lambda: store.counts()["closed"] == 6, "the training")
    supervisor.stop()
    other.close()
    store.close()


def test_a_failed_training_is_tried_again_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kneeal.annotate.supervisor.RETRY_SECONDS", 0.2)
    run, mark = make_run(tmp_path, 6), tmp_path / "tried"
    command = [sys.executable, "-c", f"import os; os.close(os.open({str(mark)!r}, os.O_CREAT | os.O_EXCL))"]
    mark.touch()  # the first attempts fail
    store = Store(run / STORE)
    store.sync([], {})
    supervisor = RoundSupervisor(run, store, auto=True, command=command)
    supervisor.pending = Pending()
    supervisor._go_on = supervisor.publish  # type: ignore[method-assign]
    supervisor.start()
    seen: list[dict[str, Any]] = []  # one status with its message: the next attempt may have begun at another look

    def failed() -> bool:
        seen.append(supervisor.status(decides=False))
        return bool(seen[-1]["phase"] == "failed")

    until(failed, "the failure")
    assert "FileExistsError" in seen[-1]["message"] and seen[-1]["retry"] is not None
    mark.unlink()
    until(mark.exists, "the next attempt")
    supervisor.stop()
    store.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_clean_stop_leaves_one_file_and_no_orphan(tmp_path: Path, number: int) -> None:
    run = make_run(tmp_path, 6, "training.steps=1000000")  # not over before it is looked at
    site = Site(run, "--reader", "Ann", "--auto")
    ann = Reader(site.port, site.links["Ann"])
    task, n = ann.call("GET", "/api/next")[1]["task"], 0
    while task is not None:
        n += 1
        status, said = ann.answer(task, n % 5, f"{n:032d}")
        assert status == 200
        task = said["task"]
    until(lambda: ann.call("GET", "/api/status")[1]["phase"] == "training", "the training")
    children = []
    for thread in Path(f"/proc/{site.process.pid}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has ended meanwhile
            children += map(int, (thread / "children").read_text().split())
    assert children
    site.stop(number)
    assert site.process.returncode == {signal.SIGINT: 130}.get(number, 143)
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert not list(run.glob("annotate.sqlite-*"))
    (tmp_path / "copy").mkdir()
    copied = tmp_path / "copy" / STORE
    copied.write_bytes((run / STORE).read_bytes())  # the file alone, as a backup takes it
    assert sqlite3.connect(copied).execute("SELECT count(*) FROM answer").fetchone()[0] == 6
    with site:
        site.start()
        ann.connect()
        until(lambda: ann.call("GET", "/api/status")[1]["phase"] == "training", "the training again")


def test_the_next_round_is_computed_while_an_answer_can_be_undone(tmp_path: Path) -> None:
    run, mark = make_run(tmp_path, 8), tmp_path / "mark"
    script = """
import sys; from pathlib import Path; mark, ahead = map(Path, sys.argv[1:])
order = "started"
while order:
    with mark.open("a") as file: print(order, end=" ", file=file)
    if order == "c": ahead.mkdir()
    order = sys.stdin.read(1)
"""
    store = Store(run / STORE)
    command = [sys.executable, "-c", script, str(mark), str(run / AHEAD)]
    supervisor = RoundSupervisor(run, store, auto=True, grace=1e6, command=command)
    ann = Accounts(store).put("Ann", reads=True, adjudicates=True)

    def answer(nonce: int) -> None:
        task = store.next(ann)
        assert task is not None
        store.write(store.answering(ann, Answer(task=task.id, picture=task.picture, nonce=f"{nonce:020d}", kl=1)))
        supervisor.step()

    for k in range(2):
        answer(k)
    assert supervisor.process is None
    for k in range(2, 7):
        answer(k)
    until(lambda: mark.is_file() and mark.read_text() == "started ", "the process, while the last knees are read")
    answer(7)
    until(lambda: mark.read_text() == "started c " and (run / AHEAD).is_dir(), "the computation")
    assert supervisor.status(decides=True)["phase"] == "read"
    first = supervisor.process
    assert first is not None
    store.undo(ann, nonce=f"{9:020d}")
    supervisor.step()
    assert first.poll() is not None and not (run / AHEAD).exists()  # nothing of it remains
    answer(10)
    until(lambda: mark.read_text() == "started c started c ", "the computation with the new answer")
    second = supervisor.process
    store.undo(ann, nonce=f"{11:020d}")
    answer(12)  # another answer before anybody looks
    assert second is not None and second.poll() is not None
    until(lambda: mark.read_text() == 3 * "started c ", "the computation with the last answer")
    supervisor.grace = 0.0
    supervisor.step()
    until(lambda: mark.read_text() == 3 * "started c " + "p ", "the publication")
    assert supervisor.status(decides=True)["phase"] == "training" and store.counts()["closed"] == 8
    supervisor.stop()
    store.close()


def test_a_child_ends_with_a_server_that_was_killed(tmp_path: Path) -> None:
    run = make_run(tmp_path, 6)
    script = (
        "import sys, subprocess, time; from pathlib import Path; from kneeal.annotate.supervisor import *; "
        "from kneeal.annotate.store import Store; "
        "command = [sys.executable, '-m', 'kneeal.annotate.training_process', sys.argv[1]]; "
        "store = Store(Path(sys.argv[1]) / 'annotate.sqlite'); "
        "s = RoundSupervisor(Path(sys.argv[1]), store, auto=True, command=command); "
        "s.pending = Pending(); s.publish(); print(s.process.pid, flush=True); time.sleep(600)"
    )
    server = subprocess.Popen([sys.executable, "-c", script, str(run)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    child = int(server.stdout.readline())
    server.kill()
    server.wait()
    until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2],
          "the end of the child")  # fmt: skip


def test_the_child_watches_before_it_imports_what_takes_long() -> None:
    check = (
        "import sys, kneeal.annotate.training_process; sys.exit(bool({'torch', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def test_half_open_connections_lock_nobody_out(served: Path) -> None:
    with Site(served) as site:
        held = []
        for k in range(300):
            connection = socket.create_connection(("127.0.0.1", site.port))
            if k % 3:
                connection.sendall(
                    b"POST /api/answer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n" + b"\r\n1" * (k % 3 - 1)
                )
            held.append(connection)
        reader = Reader(site.port, site.links["reader"])
        assert reader.call("GET", "/api/next")[0] == 200
        first = held[0]
        first.settimeout(PATIENCE)
        assert closed(first)


def closed(connection: socket.socket) -> bool:
    """Whether the other side ends a connection."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_the_health_address_needs_no_name_and_says_nothing(served: Path) -> None:
    with Site(served) as site:
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE)
        connection.request("GET", "/health", headers={"Host": "monitor.example"})
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())) == (200, {"ok": True})


def test_what_holds_readings_is_private(tmp_path: Path) -> None:
    run = make_run(tmp_path, 6)
    with Site(run, "--reader", "Ann"):
        done("annotate", run, "--table", tmp_path / "readings.csv", "--backup", tmp_path / "b.sqlite")
        private = [*run.glob("annotate.sqlite*"), tmp_path / "readings.csv", tmp_path / "b.sqlite"]
        assert len(private) >= 4 and {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    # The states of the rounds hold the grades as well.
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (run, run / "ask" / "start")} == {0o700}


def test_the_plan_belongs_to_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path, 6)
    named = ("--reader", "Ann", "--reader", "Ben", "--adjudicator", "Zoe")
    with Site(run, *named, "--reads", "2", "--repeat", "0") as site:
        links = site.links
    assert list(links) == ["Ann", "Ben", "Zoe"]
    with Site(run) as again:  # as systemd starts it anew: two readings per knee, as before
        ann = Reader(again.port, again.links["Ann"])
        assert ann.answer(ann.call("GET", "/api/next")[1]["task"], 1, "n" * 20)[0] == 200
        assert rows(run, "SELECT state FROM knee WHERE position = 0") == [("open",)]
        # while it runs
        refused(kneeal("annotate", run, "--link", "An"), "no reader called 'An'", "did you mean 'Ann'")
        done("readers", run, "--sign-out", "Ann", "--yes")
        assert ann.call("GET", "/api/next")[0] == 401
    for options in (("--reads", "1"), ("--repeat", "0.5"), ("--reader", "Bem"), ("--adjudicator", "Ann")):
        refused(kneeal("annotate", run, *options), "kneeal readers RUN")
    said_text = done("readers", run, "--reads", "1")
    assert "readings per knee: 2 to 1" in said_text and "nothing is changed yet" in said_text
    assert "knees open: 6 to 5" in said_text and "knees settled: 0 to 1" in said_text
    assert "readings per knee: 2" in done("readers", run)
    refused(kneeal("readers", run, "--remove", "Zoe", "--yes"), "adjudicators: 0")
    assert "Ben: leaves" in done("readers", run, "--reads", "1", "--remove", "Ben", "--yes")
    shown = done("readers", run)
    assert "readings per knee: 1" in shown and "Ben" not in shown and "Ann: reads; 1 answers; 0 sessions" in shown


def test_a_start_that_fails_voids_no_link(tmp_path: Path) -> None:
    run = make_run(tmp_path, 6)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused(kneeal("annotate", run, "--reader", "Anm", "--repeat", "0.5", "--port", port), "cannot listen")
    # Nor does it settle who reads.
    with Site(run, "--reader", "Ann") as site:
        links = site.links
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            refused(kneeal("annotate", run, "--port", str(taken.getsockname()[1])), "another process is working on")
            site.stop()
            refused(kneeal("annotate", run, "--port", str(taken.getsockname()[1])), "cannot listen")
        assert rows(run, "SELECT count(*) FROM link WHERE used IS NULL") == [(1,)]
    store = Store(run / STORE)
    Accounts(store).sign_in(links["Ann"])
    store.close()


def test_a_wrong_host_is_one_message(idle: Path) -> None:
    result = kneeal("annotate", idle, "--host", "192.0.2.1")
    refused(result, "cannot listen on 192.0.2.1:8010: Cannot assign requested address\n")
    assert result.stderr.startswith("kneeal: cannot listen")


def test_a_copy_of_nothing_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path, 6)
    Store(run / STORE).close()  # as a start that failed leaves it
    refused(kneeal("annotate", run, "--backup", tmp_path / "0.sqlite"), "nobody has annotated")
    store = Store(run / STORE)
    store.set_plan(ReadingPlan())
    RoundSupervisor(run, store)
    ann = Accounts(store).put("Ann", reads=True, adjudicates=True)
    empty = tmp_path / "1.sqlite"
    assert done("annotate", run, "--backup", empty) == f"copied 0 answers to {empty}: nobody has graded a knee yet\n"
    task = store.next(ann)
    assert task is not None
    store.write(store.answering(ann, Answer(task=task.id, picture=task.picture, nonce="n" * 20, kl=1)))
    written = done("annotate", run, "--backup", tmp_path / "2.sqlite", "--table", tmp_path / "t.csv")
    assert written == f"copied 1 answer to {tmp_path / '2.sqlite'}\nwrote 1 answer to {tmp_path / 't.csv'}\n"
    store.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose page is served."""
    return make_run(tmp_path_factory.mktemp("served"), 6)


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
        (["--port", "0"], "'--port'"),
        (["--reader", " "], "a reader called"),
        (["--atlas", "gone"], "--atlas gone"),
        (["--public-url", "x"], "--public-url x"),
    ],
)
def test_a_wrong_option(idle: Path, options: list[str], message: str) -> None:
    refused(kneeal("annotate", idle, *options), message)
    refused(kneeal("readers", idle), "nobody has annotated")
