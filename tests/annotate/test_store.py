"""The store: who reads what next, what holds, and that nothing is lost."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kneeal.annotate.accounts import Accounts
from kneeal.annotate.agreement import readings_table
from kneeal.annotate.assignment import ABANDONED, ReadingPlan
from kneeal.annotate.database import Change
from kneeal.annotate.request_models import Answer
from kneeal.annotate.schema import connect
from kneeal.annotate.store import Store
from kneeal.annotate.tasks import RefusedError, Task
from kneeal.errors import UserError

KNEES = [f"{9000 + k}_{'LR'[k % 2]}" for k in range(10)]
NUMBERS = count()


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def make(tmp_path: Path, knees: list[str] = KNEES, readers: int = 1, **options: object) -> tuple[Store, list[int]]:
    """A store with a query, and readers of whom the first also adjudicates."""
    plan = ReadingPlan(**{k: options.pop(k) for k in ("reads", "repeat") if k in options})  # type: ignore[arg-type]
    store = Store(tmp_path / "s.sqlite", clock=options.pop("clock", Clock()), **options)  # type: ignore[arg-type]
    store.set_plan(plan)
    accounts = Accounts(store)
    store.sync(knees, {})
    return store, [accounts.put(f"reader {k}", reads=True, adjudicates=k == 0) for k in range(readers)]


def nonce() -> str:
    return f"nonce-{next(NUMBERS):016d}"


def give(store: Store, reader: int, kl: int | None = 1, task: Task | None = None, **more: object) -> Task | None:
    task = task or store.next(reader)
    assert task is not None
    reason = None if kl is not None else "not a knee"
    given = {"task": task.id, "picture": task.picture, "nonce": nonce(), "kl": kl, "reason": reason, **more}
    answer = Answer.model_validate(given)
    return store.write(store.answering(reader, answer))[0]


def rows(store: Store, query: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in store.read(query)]


def test_a_reader_gets_each_knee_once_in_the_order_of_the_query(tmp_path: Path) -> None:
    store, (ann,) = make(tmp_path)
    seen = []
    while (task := store.next(ann)) is not None:
        assert store.next(ann) == task  # asking again changes nothing
        seen.append(task.knee_id)
        give(store, ann)
    assert seen == KNEES
    assert store.counts() == {"open": 0, "disagreed": 0, "settled": 10, "closed": 0, "graded": 10}
    assert store.decide(KNEES) == dict.fromkeys(KNEES, 1)


def test_progress_counts_down(tmp_path: Path) -> None:
    store, (ann, ben) = make(tmp_path, readers=2, reads=2)
    assert (store.progress(ann).done, store.progress(ann).left, store.progress(ann).pace) == (0, 10, None)
    for done in range(1, 11):
        give(store, ann, seconds=3.0)
        assert (store.progress(ann).done, store.progress(ann).left) == (done, 10 - done)
    assert store.progress(ann).pace == 3.0
    assert store.progress(ben).left == 10


def test_two_readers_at_once_share_the_knees(tmp_path: Path) -> None:
    store, readers = make(tmp_path, readers=2)
    tasks = [store.next(reader) for reader in readers]
    assert [task and task.knee_id for task in tasks] == KNEES[:2]
    for _ in range(5):
        for reader in readers:
            give(store, reader)
    assert [store.next(reader) for reader in readers] == [None, None]
    assert Counter(rows(store, "SELECT reader FROM task")) == {(1,): 5, (2,): 5}


def test_what_one_reader_abandons_another_can_read(tmp_path: Path) -> None:
    clock = Clock()
    store, (ann, ben) = make(tmp_path, KNEES[:1], readers=2, clock=clock)
    left = store.next(ann)
    assert store.next(ben) is None
    clock.now += ABANDONED + 10
    taken = store.next(ben)
    assert taken is not None and left is not None and taken.knee_id == left.knee_id
    give(store, ben, 2)
    assert store.next(ann) is None  # it is done
    give(store, ann, 3, left)  # her page was still open: her answer is kept, and the two differ
    assert store.counts()["disagreed"] == 1


def test_the_same_request_counts_once(tmp_path: Path) -> None:
    store, (ann,) = make(tmp_path)
    task = store.next(ann)
    first = give(store, ann, 2, task, nonce="n" * 16)
    assert give(store, ann, 2, task, nonce="n" * 16) == first
    assert len(rows(store, "SELECT * FROM answer")) == 1
    with pytest.raises(RefusedError, match="two answers"):
        give(store, ann, 3, task, nonce="n" * 16)


def test_undo_keeps_what_was_replaced(tmp_path: Path) -> None:
    store, (ann,) = make(tmp_path)
    task = store.next(ann)
    give(store, ann, 2)
    again = store.undo(ann, nonce=nonce())
    assert again is not None and task is not None and again.id == task.id and again.current is None
    assert store.counts()["open"] == 10
    give(store, ann, 3)
    assert rows(store, "SELECT id, kl, undone, replaces FROM answer") == [
        (1, 2, 0, None), (2, None, 1, 1), (3, 3, 0, 2)
    ]  # fmt: skip
    assert store.decide(KNEES) == {KNEES[0]: 3}
    with pytest.raises(RefusedError, match="closed"):
        store.undo(ann, nonce=nonce())


def test_undo_has_an_end(tmp_path: Path) -> None:
    store, (ann,) = make(tmp_path)
    with pytest.raises(RefusedError, match="nothing to undo"):
        store.undo(ann, nonce=nonce())
    give(store, ann), give(store, ann)
    store.undo(ann, nonce="u" * 16)
    store.undo(ann, nonce="u" * 16)  # sent twice, done once
    assert store.progress(ann).done == 1


def test_history_cannot_be_changed(tmp_path: Path) -> None:
    store, (ann,) = make(tmp_path)
    give(store, ann)
    for statement in ("DELETE FROM answer", "UPDATE answer SET kl = 4"):
        with pytest.raises(sqlite3.DatabaseError, match="answers"):
            store.write(lambda db, statement=statement: db.execute(statement))  # type: ignore[misc]


@pytest.mark.parametrize(("kl", "reason"), [(5, None), (-1, None), (True, None), (None, None), (1, "x"), (None, " ")])
def test_an_answer_that_is_none(tmp_path: Path, kl: int | None, reason: str | None) -> None:
    store, (ann,) = make(tmp_path)
    task = store.next(ann)
    assert task is not None
    with pytest.raises(ValidationError, match=r"grade|kinds|kl|is not one of"):
        give(store, ann, kl, task, reason=reason)
    assert rows(store, "SELECT * FROM answer") == []


def test_a_stale_page(tmp_path: Path) -> None:
    store, (ann,) = make(tmp_path)
    task = store.next(ann)
    give(store, ann, 2, task)  # in one window
    with pytest.raises(RefusedError, match="another window") as error:
        give(store, ann, 3, task)  # in the other
    assert error.value.code == 409
    assert rows(store, "SELECT kl FROM answer") == [(2,)]


def test_a_task_of_somebody_else(tmp_path: Path) -> None:
    store, (ann, ben) = make(tmp_path, readers=2)
    task = store.next(ann)
    with pytest.raises(RefusedError) as error:
        give(store, ben, 3, task)
    assert error.value.code == 404


def test_a_round_that_is_closed(tmp_path: Path) -> None:
    store, (ann,) = make(tmp_path)
    task = store.next(ann)
    give(store, ann, 1, task)
    open_one = store.next(ann)
    store.sync(KNEES, {KNEES[1]: 4})  # told by file meanwhile
    with pytest.raises(RefusedError, match="closed"):
        give(store, ann, 2, open_one)
    following = store.next(ann)
    assert following is not None and following.knee_id == KNEES[2]
    assert store.decide(KNEES) == {KNEES[0]: 1}  # what a file said is the file's


def test_counts_are_of_the_newest_query(tmp_path: Path) -> None:
    store, (ann,) = make(tmp_path, KNEES[:4])
    for _ in range(4):
        give(store, ann)
    store.decide(KNEES[:4])
    store.sync((), dict.fromkeys(KNEES[:4], 1))  # the next query is being made
    assert store.counts()["closed"] == 4 and store.progress(ann).done == 4
    for _ in range(2):  # once more, as when the server is started again
        store.sync(KNEES[4:7], dict.fromkeys(KNEES[:4], 1))
        assert store.counts() == {"open": 3, "disagreed": 0, "settled": 0, "closed": 0, "graded": 0}
    assert (store.progress(ann).done, store.progress(ann).left) == (0, 3)
    give(store, ann)
    store.sync(KNEES[4:7], {**dict.fromkeys(KNEES[:4], 1), KNEES[5]: 2})  # one was told by file
    assert store.counts() == {"open": 1, "disagreed": 0, "settled": 1, "closed": 1, "graded": 2}


def test_an_open_knee_is_carried_and_never_asked_twice(tmp_path: Path) -> None:
    store, (ann,) = make(tmp_path, KNEES[:4])
    for _ in range(3):
        give(store, ann)
    store.decide(KNEES[:4])
    store.sync([KNEES[3], *KNEES[4:7]], dict.fromkeys(KNEES[:3], 1))
    seen = []
    while (task := store.next(ann)) is not None:
        seen.append(task.knee_id)
        give(store, ann)
    assert seen == KNEES[3:7]
    assert rows(store, "SELECT count(*) FROM task") == [(7,)]


def test_a_share_is_silently_asked_twice(tmp_path: Path) -> None:
    knees = [f"{k}_L" for k in range(200)]
    store, (ann,) = make(tmp_path, knees, repeat=0.25)
    order: list[str] = []
    while (task := store.next(ann)) is not None and task.kind != "adjudication":
        order.append(task.knee_id)
        give(store, ann, 2 if order.count(task.knee_id) == 1 else 3)
    twice = [knee for knee, n in Counter(order).items() if n == 2]
    assert len(twice) == 50 and len(order) == 250
    assert min(len(order) - 1 - order[::-1].index(knee) - order.index(knee) for knee in twice) >= 20
    assert store.counts()["open"] == 0


def test_a_repeat_that_differs_goes_to_adjudication(tmp_path: Path) -> None:
    store, (ann,) = make(tmp_path, KNEES[:3], repeat=0.33)
    kinds = []
    while (task := store.next(ann)) is not None:
        kinds.append(task.kind)
        if task.kind == "repeat":
            assert store.counts()["open"] == 1  # not settled before
        if task.kind == "adjudication":
            assert task.grades == (2, 3)
        give(store, ann, 2 if task.kind == "first" else 3)
    assert kinds == ["first", "first", "first", "repeat", "adjudication"]
    assert rows(store, "SELECT kl, rule FROM knee ORDER BY position") == [
        (3, "adjudicated"), (2, "single"), (2, "single")
    ]  # fmt: skip


def test_readers_are_blind_and_an_adjudicator_decides(tmp_path: Path) -> None:
    store, (ann, ben, cleo) = make(tmp_path, KNEES[:3], readers=3, reads=2)
    Accounts(store).put("reader 0", reads=False, adjudicates=True)
    for reader, grades in ((ben, (1, 2, None)), (cleo, (1, 3, 4))):
        for kl in grades:
            task = store.next(reader)
            assert task is not None and task.grades == ()
            give(store, reader, kl)
    assert store.counts() == {"open": 0, "disagreed": 2, "settled": 1, "closed": 0, "graded": 1}
    assert store.next(ben) is None and store.next(cleo) is None
    assert store.progress(ann).left == 2
    disputes = []
    while (task := store.next(ann)) is not None:
        disputes.append(task.grades)
        give(store, ann, 2)
    assert disputes == [(2, 3), (None, 4)]
    assert rows(store, "SELECT kl, rule FROM knee ORDER BY position") == [
        (1, "agreed"), (2, "adjudicated"), (2, "adjudicated")
    ]  # fmt: skip


@pytest.mark.parametrize("differs", [False, True])
def test_undo_does_not_tell_a_reader_whether_she_differed(tmp_path: Path, differs: bool) -> None:
    store, (ann, ben, cleo) = make(tmp_path, KNEES[:2], readers=3, reads=2)
    Accounts(store).put("reader 0", reads=False, adjudicates=True)
    for reader, grades in ((ben, (1, 2)), (cleo, (1, 4 if differs else 2))):
        for kl in grades:
            give(store, reader, kl)
    if differs:
        give(store, ann, 3)
    assert store.counts()["settled"] == 2
    again = store.undo(cleo, nonce=nonce())
    assert again is not None and again.knee_id == KNEES[1] and again.current is None
    assert store.next(cleo) == again and store.next(ann) is None
    assert (store.progress(cleo).done, store.progress(cleo).left) == (1, 1)
    give(store, cleo, 4 if differs else 2)
    assert store.decide(KNEES[:2]) == {KNEES[0]: 1, KNEES[1]: 3 if differs else 2}  # the decision stands


@pytest.mark.parametrize("differs", [False, True])
def test_undo_ends_with_the_training_whether_or_not_it_took_the_knee(tmp_path: Path, differs: bool) -> None:
    store, (ann, ben, cleo) = make(tmp_path, KNEES[:2], readers=3, reads=2)
    Accounts(store).put("reader 0", reads=False, adjudicates=True)
    for reader, grades in ((ben, (1, 2)), (cleo, (1, 4 if differs else 2))):
        for kl in grades:
            give(store, reader, kl)
    assert len(store.decide(KNEES[:2])) == 2 - differs
    with pytest.raises(RefusedError, match="training has begun"):
        store.undo(cleo, nonce=nonce())
    if differs:
        give(store, ann, 3)
        assert store.undo(ann, nonce=nonce()) is not None  # a decision after that


def test_an_adjudication_can_be_undone(tmp_path: Path) -> None:
    store, (ann, ben) = make(tmp_path, KNEES[:1], readers=2, reads=2)
    give(store, ann, 1), give(store, ben, 4)
    dispute = store.next(ann)
    assert dispute is not None and dispute.kind == "adjudication"
    give(store, ann, 2)
    assert store.counts()["settled"] == 1
    again = store.undo(ann, nonce=nonce())
    assert again is not None and again.kind == "adjudication" and store.counts()["disagreed"] == 1


def test_the_model_is_seen_only_afterwards_and_changes_nothing(tmp_path: Path) -> None:
    store, (ann,) = make(tmp_path, KNEES[:2])
    task = store.next(ann)
    assert task is not None
    with pytest.raises(RefusedError, match="before your answer"):
        store.mark_prediction_seen(ann, task.id)
    give(store, ann, 1)
    store.mark_prediction_seen(ann, task.id)
    with pytest.raises(RefusedError, match="prediction was shown"):
        store.undo(ann, nonce=nonce())


def test_a_knee_that_is_put_off_comes_last(tmp_path: Path) -> None:
    store, (ann,) = make(tmp_path, KNEES[:4])
    seen = []
    for put_off in (True, False, True, False):
        task = store.next(ann)
        assert task is not None
        if put_off:
            before = store.progress(ann)
            assert store.put_off(ann, task.id) != task and store.progress(ann) == before
        else:
            seen.append(task.knee_id)
            give(store, ann, 2, task)
    while (task := store.next(ann)) is not None:
        seen.append(task.knee_id)
        give(store, ann)
    assert seen == [KNEES[1], KNEES[3], KNEES[0], KNEES[2]]


def test_what_a_reader_puts_off_others_can_read(tmp_path: Path) -> None:
    store, (ann, ben, cleo) = make(tmp_path, KNEES[:4], readers=3)
    for _ in range(4):
        task = store.next(ann)
        assert task is not None
        before_her = store.put_off(ann, task.id)
    assert before_her is not None and before_her.knee_id == KNEES[0]  # the first that she put off
    for knee in KNEES[1:4]:
        task = store.next(ben)
        assert task is not None and task.knee_id == knee
        give(store, ben)
    assert store.next(ben) is None and store.next(cleo) is None  # she has it before her
    store.put_off(ann, before_her.id)
    store.put_off(ann, before_her.id)  # in a second window too; she has no other
    assert store.next(ben) is None
    give(store, ann)
    assert rows(store, "SELECT taken, state FROM knee") == [(1, "settled")] * 4


def test_a_knee_that_was_put_off_and_begun_by_another_is_not_abandoned(tmp_path: Path) -> None:
    clock = Clock()
    store, (ann, ben, cleo) = make(tmp_path, KNEES[:3], readers=3, clock=clock)
    task = store.next(ann)
    assert task is not None
    store.put_off(ann, task.id)
    clock.now += ABANDONED + 10
    give(store, ann)
    assert store.next(ben) is not None and store.next(cleo) is None
    again = give(store, ann)
    assert again == task  # hers again, and so begun just now
    assert store.next(cleo) is None


def test_many_threads_lose_and_double_nothing(tmp_path: Path) -> None:
    knees = [f"{k}_L" for k in range(60)]
    store, readers = make(tmp_path, knees, readers=6, reads=6)
    errors: list[BaseException] = []

    def work(reader: int) -> None:
        try:
            while (task := store.next(reader)) is not None:
                give(store, reader, int(task.knee_id[0]) % 5, task)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert rows(store, "SELECT count(*), count(DISTINCT task) FROM answer") == [(360, 360)]
    assert rows(store, "SELECT DISTINCT taken FROM knee") == [(6,)]


def test_one_refusal_in_a_batch_leaves_the_others(tmp_path: Path) -> None:
    store, _ = make(tmp_path)

    def add(name: str) -> Change[str]:
        def change(db: sqlite3.Connection) -> str:
            db.execute("INSERT INTO reader (name, reads, adjudicates, created) VALUES (?, 1, 0, 0)", (name,))
            if name == "bad":
                raise RefusedError(409, "no", "no", "no")
            return name

        return change

    commits: list[str] = []
    store._writer.set_trace_callback(lambda statement: commits.append(statement) if statement == "COMMIT" else None)
    first, refused, last = at_once(store, add("a"), add("bad"), add("b"))
    assert (first, last) == ("a", "b") and isinstance(refused, RefusedError)
    assert len(commits) == 1
    names = {row["name"] for row in store.read("SELECT name FROM reader")}
    assert {"a", "b"} <= names and "bad" not in names


def at_once(store: Store, *changes: Change[Any]) -> list[Any]:
    """What comes of changes that are asked for while the store is busy."""
    busy = threading.Event()
    store._thread.submit(busy.wait)

    async def ask() -> list[Any]:
        asked = [asyncio.ensure_future(store.write_soon(change)) for change in changes]
        await asyncio.sleep(0)
        busy.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(ask())


def test_a_commit_that_fails_fails_for_everybody_in_it(tmp_path: Path) -> None:
    store, _ = make(tmp_path, timeout=0.01)
    other = connect(tmp_path / "s.sqlite", create=False)
    other.execute("BEGIN IMMEDIATE")
    locked = at_once(store, lambda db: 1, lambda db: 2)
    assert [str(error) for error in locked] == ["database is locked"] * 2
    other.execute("ROLLBACK")
    assert at_once(store, lambda db: 1, lambda db: 2) == [1, 2]


def test_who_asked_may_go(tmp_path: Path) -> None:
    """A page that is closed while its answer is written leaves it written, and the others answered."""
    store, (ann,) = make(tmp_path)

    async def go() -> object:
        first = store.next(ann)
        assert first is not None
        given = store.answering(ann, Answer(task=first.id, picture=first.picture, nonce="n" * 16, kl=3))
        gone = asyncio.ensure_future(store.write_soon(given))
        stays = asyncio.ensure_future(store.write_soon(lambda db: "here"))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert asyncio.run(go()) == "here"
    assert rows(store, "SELECT kl FROM answer") == [(3,)]


def test_a_full_disk_keeps_everything_else(tmp_path: Path) -> None:
    store, (ann,) = make(tmp_path, [f"{k}_L" for k in range(3000)])
    give(store, ann)
    pages = rows(store, "PRAGMA page_count")[0][0]
    store.write(
        lambda db: db.execute(f"PRAGMA max_page_count = {pages}")
    )  # what SQLite says of a disk without a free page
    stored = 1
    with pytest.raises(sqlite3.OperationalError, match="full"):
        for _ in range(3000):
            give(store, ann)
            stored += 1
    assert rows(store, "SELECT count(*) FROM answer") == [(stored,)]
    store.write(lambda db: db.execute("PRAGMA max_page_count = 1000000"))
    give(store, ann)
    assert rows(store, "SELECT count(*) FROM answer") == [(stored + 1,)]
    assert rows(store, "PRAGMA integrity_check") == [("ok",)]


def test_a_locked_database_keeps_everything_else(tmp_path: Path) -> None:
    store, (ann,) = make(tmp_path, timeout=0.05)
    give(store, ann)
    task = store.next(ann)
    other = connect(tmp_path / "s.sqlite", create=False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        give(store, ann, 1, task)
    other.execute("ROLLBACK")
    give(store, ann, 1, task)
    assert rows(store, "SELECT count(*) FROM answer") == [(2,)]


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "s.sqlite").write_text("not a database, but long enough to be taken for one" * 20)
    with pytest.raises(UserError, match="cannot be opened"):
        Store(tmp_path / "s.sqlite")
    other = sqlite3.connect(tmp_path / "o.sqlite")
    other.execute("CREATE TABLE t (x)")
    other.commit()
    with pytest.raises(UserError, match="another kind or version"):
        Store(tmp_path / "o.sqlite")


def test_the_table_tells_who_when_and_what_was_replaced(tmp_path: Path) -> None:
    store, (ann,) = make(tmp_path, KNEES[:1])
    give(store, ann, 2, seconds=4.5)
    store.undo(ann, nonce=nonce())
    give(store, ann, None, seconds=2.0, measurements=[{"x0": 0.0, "y0": 0.0, "x1": 9.0, "y1": 0.0, "mm": 3.1}])
    store.decide(KNEES)
    lines = readings_table(store).splitlines()
    assert lines[1].startswith("1,9000_L,1,reader 0,first,2,,0,0,4.5,2023-11-14T")
    assert lines[3].startswith("3,9000_L,1,reader 0,first,,not a knee,0,1,2.0,")
    assert (
        ',2,"[{""x0"": 0.0, ""y0"": 0.0, ""x1"": 9.0, ""y1"": 0.0, ""mm"": 3.1, ""name"": null}]",[],,0,single,'
        in lines[3]
    )


def test_a_reader_signs_in_once_by_a_link(tmp_path: Path) -> None:
    clock = Clock()
    store, (ann,) = make(tmp_path, clock=clock)
    accounts = Accounts(store)
    first, second = accounts.link(ann), accounts.link(ann)
    with pytest.raises(RefusedError):
        accounts.sign_in(first)  # the newer link voids it
    key, reader = accounts.sign_in(second)
    session = accounts.session(key)
    assert session is not None and session.id == reader == ann
    with pytest.raises(RefusedError):
        accounts.sign_in(second)
    late = accounts.link(ann)
    clock.now += 25 * 3600
    with pytest.raises(RefusedError):
        accounts.sign_in(late)
    accounts.sign_out(key)
    assert accounts.session(key) is None and accounts.session("") is None and accounts.session("x") is None
    for secret in (second, key):
        assert secret.encode() not in (tmp_path / "s.sqlite").read_bytes()


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 61])
def test_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    store, _ = make(tmp_path)
    with pytest.raises(UserError, match="a reader called"):
        Accounts(store).put(name, reads=True, adjudicates=False)


def test_a_second_connection_that_closes_takes_nothing_away(tmp_path: Path) -> None:
    """The locks of SQLite go when any handle of the file is closed in the process: nothing else may open the file."""
    store, (ann,) = make(tmp_path)
    give(store, ann)
    store.next(ann)
    look = "from pathlib import Path; from kneeal.annotate.store import Store; Store(Path(sys.argv[1])).close()"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", f"import sys; {look}", str(store.path)], check=True)
        connect(store.path, create=True).close()
        give(store, ann)
        assert (tmp_path / "s.sqlite-wal").exists()  # not removed under the one who writes it
    assert rows(store, "SELECT count(*) FROM answer") == [(3,)]
    store.close()
    assert Store(store.path).read("SELECT count(*) FROM answer")[0][0] == 3


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the open files of a process are listed on Linux only")
def test_threads_that_come_and_go_leave_no_file_open(tmp_path: Path) -> None:
    """A server answers in threads that end when nothing is to be done; after weeks there were thousands."""
    store, (ann,) = make(tmp_path)

    def opened() -> int:
        return sum(
            os.path.realpath(file).startswith(str(store.path.resolve())) for file in Path("/proc/self/fd").iterdir()
        )

    before = opened()
    for _ in range(20):
        thread = threading.Thread(target=lambda: store.progress(ann))
        thread.start()
        thread.join()
    assert opened() == before > 0
