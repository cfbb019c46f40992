"""A round that is computed before its answers are final: the same round, or nothing of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.knee_site import make_run

from kneeal.annotate.accounts import Accounts
from kneeal.annotate.assignment import ReadingPlan
from kneeal.annotate.next_round import next_round
from kneeal.annotate.request_models import Answer
from kneeal.annotate.schema import STORE
from kneeal.annotate.store import Store
from kneeal.annotate.supervisor import RoundSupervisor, read_pending
from kneeal.annotate.training_process import AHEAD, COMPUTE, PUBLISH
from kneeal.loop.folder import RunFolder
from kneeal.loop.writer import RunWriter

#: Files of a round that hold no time.
FILES = ("state.json", "scores.csv", "query_predictions.csv", "test_predictions.csv")


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose first query is read, and nothing else is done with it yet."""
    run = make_run(tmp_path_factory.mktemp("read"), 6)
    with_store(run, lambda store, ann: [grade(store, ann, k % 5) for k in range(6)])
    return run


@pytest.fixture
def run(read: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(read, tmp_path / "run"))


def with_store(run: Path, act: Callable[[Store, int], object]) -> None:
    store = Store(run / STORE)
    store.set_plan(ReadingPlan())
    RoundSupervisor(run, store)
    act(store, Accounts(store).put("Ann", reads=True, adjudicates=True))
    store.close()


def grade(store: Store, reader: int, kl: int) -> None:
    task = store.next(reader)
    assert task is not None
    n = store.last_answer()[0]
    store.write(store.answering(reader, Answer(task=task.id, picture=task.picture, nonce=f"{n:020d}", kl=kl)))


def take_back(store: Store, reader: int) -> None:
    store.undo(reader, nonce=f"{store.last_answer()[0]:020d}")


def orders(*given: bytes | Callable[[], object]) -> Callable[[], bytes]:
    """Gives orders one after another, and does what stands between them."""
    waiting = iter(given)

    def order() -> bytes:
        for item in waiting:
            if isinstance(item, bytes):
                return item
            item()
        raise Killed

    return order


def outcome(run: Path) -> dict[str, str]:
    folder = RunFolder(run)
    files = {name: (folder.round(0) / name).read_text() for name in FILES}
    row = {name: value for name, value in folder.row(0).items() if "seconds" not in name}
    answers = json.loads((run / "start/answers.json").read_text())
    query = json.loads((folder.round(0) / "query.json").read_text())
    return {**files, "row": str(row), "answers": str(sorted(answers.items())), "query": str({**query, "row": {}})}


def plain(run: Path) -> dict[str, str]:
    """What comes of a run without computing ahead."""
    other = Path(shutil.copytree(run, run.parent / "plain"))
    next_round(other, order=orders(PUBLISH))
    return outcome(other)


def test_it_is_the_same_round(run: Path) -> None:
    expected = plain(run)

    def nothing_yet() -> None:
        assert (run / AHEAD).is_dir()
        assert not (run / "rounds").exists() and not (run / "start/answers.json").exists()
        store = Store(run / STORE)
        assert store.counts()["settled"] == 6  # every answer can still be taken back
        store.close()

    next_round(run, order=orders(COMPUTE, nothing_yet, PUBLISH))
    assert outcome(run) == expected
    assert not (run / AHEAD).exists() and (run / "rounds.csv").is_file()
    assert not any(path.is_symlink() for path in run.rglob("*"))
    # The next round begins from links to this one.
    with_store(run, lambda store, ann: [grade(store, ann, k % 5) for k in range(4)])
    next_round(run, order=orders(COMPUTE, PUBLISH))
    state = RunFolder(run).latest_state()
    assert state is not None and state.round == 1 and len(state.labeled) == 10
    assert not any(path.is_symlink() for path in run.rglob("*"))
    assert outcome(run)["scores.csv"] == expected["scores.csv"]


@pytest.mark.parametrize("again", [None, 3])
def test_an_answer_that_was_taken_back_is_not_in_it(run: Path, again: int | None) -> None:
    def change() -> None:
        with_store(run, lambda store, ann: (take_back(store, ann), again is None or grade(store, ann, again)))

    next_round(run, order=orders(COMPUTE, change, PUBLISH))
    labeled, state = json.loads((run / "start/answers.json").read_text()), RunFolder(run).latest_state()
    assert state is not None and dict(state.labeled) == labeled
    assert len(labeled) == (5 if again is None else 6) and len(state.asked) == (again is None)
    assert list(labeled.values())[5:] == ([] if again is None else [again])
    assert not (run / AHEAD).exists()


def test_an_answer_before_it_is_computed(run: Path) -> None:
    with_store(run, take_back)
    next_round(run, order=orders(COMPUTE, lambda: with_store(run, lambda store, ann: grade(store, ann, 4)), PUBLISH))
    assert list(json.loads((run / "start/answers.json").read_text()).values())[5] == 4


@pytest.mark.parametrize("point", ["computed", "move_whole", "sync", "rebuild"])
def test_killed_at_any_point_the_run_goes_on(run: Path, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = plain(run)

    def kill(*given: object) -> None:
        raise Killed

    if point == "rebuild":
        monkeypatch.setattr(RunWriter, "rebuild_rounds_csv", lambda folder: kill() if folder.path == run else None)
    elif point != "computed":
        monkeypatch.setattr(f"kneeal.annotate.next_round.{point}", kill)
    with pytest.raises(Killed):
        next_round(run, order=orders(COMPUTE, *([] if point == "computed" else [PUBLISH])))
    monkeypatch.undo()
    if read_pending(run).ids == tuple(json.loads((run / "start/query.json").read_text())["ids"]):
        next_round(run, order=orders(PUBLISH))
    assert outcome(run) == expected


def test_a_file_system_without_links(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = plain(run)

    def refuse(*given: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.symlink", refuse)
    next_round(run, order=orders(COMPUTE, PUBLISH))
    assert outcome(run) == expected
