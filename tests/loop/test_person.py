"""What a person does and a simulated oracle does not: leave knees, call some unreadable, correct herself."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from helpers.fake_runner import GRADES, POOL, FakeRunner
from helpers.small_loop import loop, queries

from kneeal.errors import UserError
from kneeal.loop.query import SimulatedOracle
from kneeal.pool import PoolState


def test_an_unreadable_knee_leaves_the_pool_without_a_label(tmp_path: Path) -> None:
    run = loop(tmp_path)
    query = run.ask()
    assert query is not None
    bad, *rest = query.ids
    run.tell({bad: None})
    state = run.tell({i: GRADES[i] for i in rest})
    assert state.unreadable == (bad,)
    assert bad not in state.labeled and bad not in state.unlabeled
    again = loop(tmp_path)
    assert again.state.unreadable == (bad,)
    final = again.run(SimulatedOracle(GRADES))
    assert len(final.labeled) == 30
    assert all(bad not in ids for ids in queries(tmp_path)[1:])


def test_the_pseudo_pool_is_never_larger_than_the_labels(tmp_path: Path) -> None:
    run = loop(tmp_path)
    first = run.ask()
    assert first is not None
    run.tell({i: GRADES[i] for i in first.ids})
    query = run.ask()
    assert query is not None and len(query.pseudo) == 18
    state = run.tell({i: None if n < 5 else GRADES[i] for n, i in enumerate(query.ids)})
    assert len(state.labeled) == 13 and state.pseudo == query.pseudo[:13]
    query = run.ask()
    assert query is not None
    run.tell({query.ids[0]: GRADES[query.ids[0]]})
    assert len(run.close().pseudo) == 14


def test_a_first_query_of_unreadable_knees_is_asked_anew(tmp_path: Path) -> None:
    run = loop(tmp_path)
    first = run.ask()
    assert first is not None
    run.tell(dict.fromkeys(first.ids, None))
    reopened = loop(tmp_path)
    second = reopened.ask()
    assert second is not None and set(second.ids).isdisjoint(first.ids)
    assert reopened.answers == {}
    assert len(reopened.run(SimulatedOracle(GRADES)).labeled) == 30


def test_a_correction_is_taken_when_it_is_meant(tmp_path: Path) -> None:
    run = loop(tmp_path)
    query = run.ask()
    assert query is not None
    run.tell({query.ids[0]: 1})
    with pytest.raises(UserError, match="grade 2 for knee"):
        run.tell({query.ids[0]: 2})
    with pytest.raises(UserError, match="unreadable for knee"):
        run.tell({query.ids[0]: None})
    run.tell({query.ids[0]: 2}, replace=True)
    assert loop(tmp_path).answers == {query.ids[0]: 2}


def test_a_closed_round_carries_its_open_knees_into_the_next_query(tmp_path: Path) -> None:
    runner = FakeRunner()
    run = loop(tmp_path, runner)
    first = run.ask()
    assert first is not None
    answered, left = first.ids[:7], first.ids[7:]
    run.tell({i: GRADES[i] for i in answered})
    state = run.close()
    assert state.asked == left and set(left) <= set(state.unlabeled)
    second = loop(tmp_path, runner).ask()
    assert second is not None
    assert second.ids[:3] == left and len(second.ids) == 8 and len(set(second.ids)) == 8
    assert set(left).isdisjoint(second.pseudo)
    final = loop(tmp_path, runner).run(SimulatedOracle(GRADES))
    assert len(final.labeled) == 30


def test_more_open_knees_than_a_query_holds(tmp_path: Path) -> None:
    run = loop(tmp_path)
    first = run.ask()
    assert first is not None
    run.tell({first.ids[0]: 3})
    run.close()
    second = run.ask()
    assert second is not None and second.ids == first.ids[1:]


@pytest.mark.parametrize("answers", [{}, {0: None}])
def test_a_round_without_a_grade_cannot_close(tmp_path: Path, answers: dict[int, None]) -> None:
    run = loop(tmp_path)
    query = run.ask()
    assert query is not None
    run.tell({query.ids[k]: None for k in answers})
    with pytest.raises(UserError, match="without a grade"):
        run.close()


def test_the_predictions_of_the_query_are_kept(tmp_path: Path) -> None:
    run = loop(tmp_path)
    run.tell({i: GRADES[i] for i in run.ask().ids})  # type: ignore[union-attr]
    query = run.ask()
    assert query is not None
    with (tmp_path / "rounds/000/query_predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["knee_id"] for row in rows] == list(query.ids)
    assert all(sum(float(row[f"p{g}"]) for g in range(5)) == pytest.approx(1, abs=1e-4) for row in rows)


def test_a_state_of_the_first_version_is_read() -> None:
    old = {"round": 0, "labeled": [[POOL[0], 1]], "unlabeled": list(POOL[1:]), "pseudo": []}
    state = PoolState.from_dict(json.loads(json.dumps(old)))
    assert state.unreadable == () and state.asked == ()
    assert PoolState.from_dict(state.to_dict()) == state


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"unreadable": ("a",)}, "unreadable and still in the pool"),
        ({"asked": ("z",)}, "asked for but not unlabeled"),
        ({"asked": ("a", "a")}, "named twice"),
    ],
)
def test_a_state_does_not_contradict_itself(more: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PoolState({}, ("a", "b"), **more)  # type: ignore[arg-type]
