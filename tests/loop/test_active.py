from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from helpers.fake_runner import GRADES, POOL, FakeRunner
from helpers.small_loop import SCHEDULE, loop, queries, rows, without_times
from torch import Tensor

from kneeal import acquisition
from kneeal.errors import UserError
from kneeal.loop.active import ActiveLearningLoop
from kneeal.loop.events import RoundReport
from kneeal.loop.folder import RunFolder
from kneeal.loop.query import Schedule, SimulatedOracle
from kneeal.loop.writer import RunWriter
from kneeal.pool import PoolState


def test_a_run_spends_its_budget_and_no_more(tmp_path: Path) -> None:
    runner = FakeRunner()
    state = loop(tmp_path, runner).run(SimulatedOracle(GRADES))
    assert len(state.labeled) == 30
    assert dict(state.labeled) == {i: GRADES[i] for i in state.labeled}
    assert [len(s.labeled) for s in runner.states] == [10, 18, 26, 30]
    assert [len(q) for q in queries(tmp_path)] == [10, 8, 8, 4, 0]
    assert [what for what, _ in runner.calls] == ["fit", "test", "predict"] * 3 + ["fit", "test"]
    assert [r["n_labeled"] for r in rows(tmp_path)] == ["10", "18", "26", "30"]
    assert [r["round"] for r in rows(tmp_path)] == ["0", "1", "2", "3"]
    assert float(rows(tmp_path)[2]["test_balanced_accuracy"]) == pytest.approx(0.5)


def test_the_papers_schedule_is_16_fits_and_15_queries() -> None:
    paper = Schedule()
    assert paper.n_rounds == 16
    counts, n = [], 0
    while step := paper.next_query(n):
        n += step
        counts.append(n)
    assert counts == list(range(50, 801, 50))


def test_the_query_is_the_most_uncertain_and_the_pseudo_pool_the_least(tmp_path: Path) -> None:
    runner = FakeRunner()
    run = loop(tmp_path, runner)
    first = run.ask()
    assert first is not None
    run.tell({i: GRADES[i] for i in first.ids})
    query = run.ask()
    assert query is not None
    state = run.state
    score = acquisition.get("entropy_mcd").score(
        runner.predict(tmp_path / "rounds/000/best.ckpt", 0, state.unlabeled, runner.needs[-1])
    )
    by_score = sorted(state.unlabeled, key=dict(zip(state.unlabeled, score.tolist(), strict=True)).__getitem__)
    assert set(query.ids) == set(by_score[-8:])
    assert query.ids == tuple(reversed(by_score[-8:]))
    assert set(query.pseudo) == set(by_score[:18]), "as many as labels after the answers"
    after = run.tell({i: GRADES[i] for i in query.ids})
    assert set(after.pseudo) == set(query.pseudo)
    with (tmp_path / "rounds/000/scores.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(state.unlabeled)
    assert [r["knee_id"] for r in table[:8]] == list(query.ids)
    assert {r["knee_id"] for r in table if r["role"] == "pseudo"} == set(query.pseudo)


def test_a_pool_is_scored_once(tmp_path: Path) -> None:
    class Counting(acquisition.Strategy):
        posterior = acquisition.Posterior.POINT
        scored: ClassVar[list[int]] = []

        def score(self, predictions: acquisition.Predictions) -> Tensor:
            self.scored.append(len(predictions))
            return acquisition.measures.entropy(predictions.require_log_probs())

    ActiveLearningLoop(FakeRunner(), Counting(), POOL, RunWriter(tmp_path), SCHEDULE).run(SimulatedOracle(GRADES))
    assert Counting.scored == [50, 42, 34]


def test_a_strategy_learns_how_many_labels_each_grade_has(tmp_path: Path) -> None:
    class Counting(type(acquisition.get("inverse_frequency"))):  # type: ignore[misc]
        seen: ClassVar[list[list[float]]] = []

        def score(self, predictions: acquisition.Predictions) -> Tensor:
            self.seen.append(predictions.require_label_counts().tolist())
            return super().score(predictions)

    run = ActiveLearningLoop(
        FakeRunner(), Counting(), POOL, RunWriter(tmp_path), SCHEDULE, pseudo_strategy=acquisition.get("entropy")
    )
    run.ask()
    while not run.finished:
        run.tell({i: GRADES[i] for i in run.missing})
        labels = [*run.state.labeled.values()]
        run.ask()
        assert run.finished or Counting.seen[-1] == [labels.count(grade) for grade in range(5)]
    assert len(Counting.seen) == 3


def test_an_error_in_a_strategy_names_it(tmp_path: Path) -> None:
    class Mine(acquisition.Strategy):
        posterior = acquisition.Posterior.POINT

        def score(self, predictions: acquisition.Predictions) -> Tensor:
            return predictions.require_log_probs()

    run = ActiveLearningLoop(FakeRunner(), Mine(), POOL, RunWriter(tmp_path), SCHEDULE)
    with pytest.raises(UserError, match=r"(?s)the strategy Mine: score returned a tensor .*\[N\] with N = 50"):
        run.run(SimulatedOracle(GRADES))


def test_without_consistency_there_is_no_pseudo_pool(tmp_path: Path) -> None:
    runner = FakeRunner()
    loop(tmp_path, runner, consistency=False).run(SimulatedOracle(GRADES))
    assert all(s.pseudo == () for s in runner.states)
    assert {r["n_pseudo"] for r in rows(tmp_path)} == {"0"}


def test_random_predicts_nothing_and_draws_from_the_whole_pool(tmp_path: Path) -> None:
    runner = FakeRunner()
    loop(tmp_path / "a", runner, "random", consistency=False).run(SimulatedOracle(GRADES))
    assert "predict" not in {what for what, _ in runner.calls}
    loop(tmp_path / "b", FakeRunner(), "random", consistency=False, seed=1).run(SimulatedOracle(GRADES))
    assert queries(tmp_path / "a") != queries(tmp_path / "b")


@pytest.mark.parametrize("strategy", ["random", "variation_ratio", "power_bald"])
def test_the_order_of_the_pool_decides_nothing(tmp_path: Path, strategy: str) -> None:
    for name, pool in {"a": POOL, "b": POOL[::-1]}.items():
        run = ActiveLearningLoop(
            FakeRunner(), acquisition.get(strategy), pool, RunWriter(tmp_path / name), SCHEDULE, consistency=False
        )
        run.run(SimulatedOracle(GRADES))
    assert queries(tmp_path / "a") == queries(tmp_path / "b")


def test_random_with_consistency_names_its_cures(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)no uncertainty.*--no-ssl.*pseudo_by"):
        loop(tmp_path, strategy="random")
    assert not (tmp_path / "start").exists()


def test_another_strategy_can_choose_the_pseudo_pool_for_random(tmp_path: Path) -> None:
    runner = FakeRunner()
    run = loop(tmp_path, runner, "random", pseudo_strategy=acquisition.get("entropy"))
    run.run(SimulatedOracle(GRADES))
    assert len(runner.states[1].pseudo) == 18
    assert {needs.posterior for needs in runner.needs} == {acquisition.Posterior.POINT}


def test_the_first_query_is_the_same_for_every_strategy_of_a_seed(tmp_path: Path) -> None:
    firsts = [loop(tmp_path / name, strategy=name).ask() for name in ("entropy", "mi_mcd")]
    assert firsts[0] == firsts[1]
    assert loop(tmp_path / "other", seed=1).ask() != firsts[0]


def test_asking_twice_gives_the_same_query_and_trains_once(tmp_path: Path) -> None:
    runner = FakeRunner()
    run = loop(tmp_path, runner)
    first = run.ask()
    assert first is not None
    run.tell({i: GRADES[i] for i in first.ids})
    assert run.ask() == run.ask()
    assert runner.calls == [("fit", 0), ("test", 0), ("predict", 0)]


def test_answers_come_in_parts_in_any_order_and_survive_a_restart(tmp_path: Path) -> None:
    run = loop(tmp_path)
    query = run.ask()
    assert query is not None
    backwards = list(reversed(query.ids))
    assert run.tell({i: GRADES[i] for i in backwards[:4]}).labeled == {}
    again = loop(tmp_path)
    assert again.ask() == query
    state = again.tell({i: GRADES[i] for i in backwards[4:]})
    assert list(state.labeled) == list(query.ids), "kept in the order asked"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda ids: {"stranger_L": 1}, "not asked for: 'stranger_L'"),
        (lambda ids: {ids[0]: 7}, "grade 7"),
        (lambda ids: {ids[0]: 2.5}, r"grade 2\.5"),
        (lambda ids: {ids[0]: True}, "grade True"),
    ],
)
def test_wrong_answers_are_refused_whole(tmp_path: Path, bad: Callable[[tuple[str, ...]], dict], message: str) -> None:
    run = loop(tmp_path)
    query = run.ask()
    assert query is not None
    with pytest.raises(UserError, match=message):
        run.tell({query.ids[1]: 1, **bad(query.ids)})
    assert not (tmp_path / "start" / "answers.json").exists()


def test_a_second_different_answer_is_refused_and_the_same_one_is_not(tmp_path: Path) -> None:
    run = loop(tmp_path)
    query = run.ask()
    assert query is not None
    run.tell({query.ids[0]: 3})
    run.tell({query.ids[0]: 3})
    with pytest.raises(UserError, match="graded 3 before"):
        run.tell({query.ids[0]: 2})


def test_answers_without_a_query_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="without a pending query"):
        loop(tmp_path).tell({POOL[0]: 1})


@pytest.mark.parametrize("labels", [{"n_init": 61}, {"budget": 61}, {"budget": 9}, {"n_query": 61}, {"n_query": 0}])
def test_a_schedule_that_cannot_be_kept_is_refused(tmp_path: Path, labels: dict[str, int]) -> None:
    with pytest.raises(UserError) as error:
        loop(tmp_path, schedule=Schedule(**{"n_init": 10, "n_query": 8, "budget": 30, **labels}))
    assert next(iter(labels)) in str(error.value)


def test_the_whole_pool_can_be_labeled(tmp_path: Path) -> None:
    state = loop(tmp_path, schedule=Schedule(10, 25, 60)).run(SimulatedOracle(GRADES))
    assert set(state.labeled) == set(POOL)


def test_an_oracle_that_does_not_know_a_grade_says_which(tmp_path: Path) -> None:
    run = loop(tmp_path)
    with pytest.raises(UserError, match="no grade for 10 queried knees"):
        run.run(SimulatedOracle({}))


def test_warm_start_hands_on_the_checkpoint_of_the_round_before(tmp_path: Path) -> None:
    runner = FakeRunner()
    loop(tmp_path, runner, warm_start=True).run(SimulatedOracle(GRADES))
    assert runner.previous == [None, *(tmp_path / f"rounds/{r:03d}/best.ckpt" for r in range(3))]


class Killed(BaseException):
    """Stands for SIGKILL: nothing that catches Exception may see it."""


@pytest.mark.parametrize("what", ["fit", "test", "predict"])
@pytest.mark.parametrize("round", [0, 1, 2])
def test_killed_anywhere_it_resumes_to_the_same_run(tmp_path: Path, what: str, round: int) -> None:
    loop(tmp_path / "whole").run(SimulatedOracle(GRADES))

    def kill(called: str, number: int) -> None:
        if (called, number) == (what, round):
            raise Killed

    with pytest.raises(Killed):
        loop(tmp_path / "cut", FakeRunner(kill)).run(SimulatedOracle(GRADES))
    resumed = FakeRunner()
    loop(tmp_path / "cut", resumed).run(SimulatedOracle(GRADES))
    assert queries(tmp_path / "cut") == queries(tmp_path / "whole")
    assert without_times(tmp_path / "cut") == without_times(tmp_path / "whole")
    assert resumed.calls[0] == (("predict", round) if what == "predict" else ("fit", round)), (
        "no finished fit is redone"
    )


def test_killed_before_any_single_write_it_resumes_to_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kneeal.loop import writer as module

    loop(tmp_path / "whole").run(SimulatedOracle(GRADES))
    write = module.write_atomic
    for n in range(200):
        left = n

        def cut(path: Path, content: str) -> None:
            nonlocal left
            if left == 0:
                path.with_name(f".{path.name}.1.tmp").parent.mkdir(parents=True, exist_ok=True)
                path.with_name(f".{path.name}.1.tmp").write_text(content[: len(content) // 2])
                raise Killed
            left -= 1
            write(path, content)

        monkeypatch.setattr(module, "write_atomic", cut)
        path = tmp_path / f"cut{n}"
        try:
            loop(path).run(SimulatedOracle(GRADES))
        except Killed:
            monkeypatch.setattr(module, "write_atomic", write)
            loop(path).run(SimulatedOracle(GRADES))
            assert queries(path) == queries(tmp_path / "whole")
            assert without_times(path) == without_times(tmp_path / "whole")
            assert not list(path.rglob("*.tmp"))
        else:
            break
    assert n > 15, "every write of the run was cut once"


def test_a_finished_run_asks_nothing_more(tmp_path: Path) -> None:
    loop(tmp_path).run(SimulatedOracle(GRADES))
    runner = FakeRunner()
    again = loop(tmp_path, runner)
    assert again.finished
    assert again.ask() is None
    assert len(again.run(SimulatedOracle(GRADES)).labeled) == 30
    assert runner.calls == []


def test_a_run_of_another_pool_is_refused(tmp_path: Path) -> None:
    loop(tmp_path).ask()
    with pytest.raises(UserError, match="other knees"):
        ActiveLearningLoop(FakeRunner(), acquisition.get("entropy"), POOL[:50], RunWriter(tmp_path), SCHEDULE)


class Recorder:
    def __init__(self) -> None:
        self.events: list[str] = []
        self.reports: list[RoundReport] = []

    def run_started(self, config: object, finished: object) -> None: ...

    def round_started(self, round: int, n_labeled: int, n_pool: int, n_rounds: int) -> None:
        self.events.append(f"start {round} {n_labeled} {n_pool} {n_rounds}")

    def round_finished(self, report: RoundReport) -> None:
        self.events.append(f"end {report.round}")
        self.reports.append(report)

    def run_ended(self, error: BaseException | None) -> None:
        self.events.append("done" if error is None else type(error).__name__)


def test_listeners_hear_each_round_with_its_answers(tmp_path: Path) -> None:
    recorder = Recorder()
    run = loop(tmp_path, listeners=[recorder])
    run.run(SimulatedOracle(GRADES))
    starts = [f"start {r} {n} {60 - n} 4" for r, n in enumerate((10, 18, 26, 30))]
    expected = [event for r, start in enumerate(starts) for event in (start, f"end {r}")]
    assert recorder.events == [*expected, "done"]
    report = recorder.reports[1]
    assert report.answers == {i: GRADES[i] for i in report.query}
    assert report.n_pseudo == 18
    assert set(report.scores) == set(report.query)
    assert len(report.uncertainty) == 4
    assert recorder.reports[-1].query == ()
    assert loop(tmp_path).finished_rounds() == recorder.reports


def test_listeners_hear_of_a_failure(tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.raises(UserError):
        loop(tmp_path, listeners=[recorder]).run(SimulatedOracle({}))
    assert recorder.events[-1] == "UserError"


def test_a_process_that_does_not_write_leaves_no_trace(tmp_path: Path) -> None:
    run = ActiveLearningLoop(
        FakeRunner(), acquisition.get("entropy"), POOL, RunWriter(tmp_path / "run", active=False), SCHEDULE
    )
    query = run.ask()
    assert query is not None
    assert isinstance(run.tell({i: GRADES[i] for i in query.ids}), PoolState)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["state.json", "query.json", "metrics.json", "scores.csv", "test_predictions.csv"])
def test_a_damaged_file_of_a_round_is_named_with_its_cure(tmp_path: Path, name: str) -> None:
    loop(tmp_path).run(SimulatedOracle(GRADES))
    last = max(path for path in (tmp_path / "rounds").glob(f"*/{name}"))
    last.write_text("knee_id,predicted\n9_L,many\n" if name.endswith("csv") else "[1")
    folder = RunFolder(tmp_path)
    number = int(last.parent.name)
    with pytest.raises(UserError, match=rf"(?s){name} cannot be read.*continue the run"):
        folder.pool_grades(number) if name == "scores.csv" else folder.report(number, 4)


@pytest.mark.parametrize("content", ["knee_id,p0\n9_L,\n", "p0\n0.5\n"])
def test_damaged_probabilities_of_a_query_are_named(tmp_path: Path, content: str) -> None:
    loop(tmp_path).run(SimulatedOracle(GRADES))
    (tmp_path / "rounds/000/query_predictions.csv").write_text(content)
    with pytest.raises(UserError, match=r"query_predictions\.csv cannot be read"):
        RunFolder(tmp_path).query_probabilities(0)
