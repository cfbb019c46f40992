"""The active-learning loop: fit, evaluate, query, wait for answers, repeat until the budget is spent."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from kneeal.acquisition import Strategy
from kneeal.errors import UserError, count, some
from kneeal.loop.events import LoopListener, RoundReport
from kneeal.loop.query import FirstQuery, Oracle, Query, Schedule, check_answers, random_first_query
from kneeal.loop.querying import EMPTY_POOL, Querying
from kneeal.loop.runner import Runner
from kneeal.loop.stopping import StopRule
from kneeal.loop.writer import RunWriter
from kneeal.pool import PoolState
from kneeal.seeds import derive_seed


@dataclass(eq=False)
class ActiveLearningLoop:
    """One active-learning run, for a simulated oracle (`run`) and for a person (`ask` and `tell`) alike.

    Decisions are on disk before they are acted on, so a new loop on the same folder continues where the last
    one stopped.

    Raises:
        UserError: The schedule does not fit the pool, the run on disk has another pool, or consistency is
            on and nothing scores uncertainty.
    """

    runner: Runner  #: Trains and predicts.
    strategy: Strategy  #: Scores the pool and selects the query.
    pool: Sequence[str]  #: The knees that may be asked for.
    folder: RunWriter  #: Where the run is kept.
    schedule: Schedule  #: How many labels to ask for.
    _: KW_ONLY
    consistency: bool = True  #: Whether to choose a pseudo pool for the consistency term.
    pseudo_strategy: Strategy | None = None  #: Scores the uncertainty of a knee; `strategy` itself if None.
    warm_start: bool = False  #: Begin each fit with the weights of the round before.
    n_grades: int = 5  #: Number of grades; an answer lies in [0, n_grades).
    seed: int = 0  #: Seed of the first query and of every selection.
    listeners: Sequence[LoopListener] = ()  #: Notified of each round.
    first_query: FirstQuery = random_first_query  #: Makes the first query, before anything is trained.
    #: Whether to end before the budget is spent, asked before every query but the first; never if None.
    stop: StopRule | None = None
    n_free: int = 0  #: Knees whose grades are used in addition to the budget, for validation.

    def __post_init__(self) -> None:
        folder, stop = self.folder, self.stop
        self.schedule.check(len(self.pool))
        uncertainty = (self.pseudo_strategy or self.strategy) if self.consistency else None
        self.querying = Querying(
            self.runner, self.strategy, uncertainty, n_grades=self.n_grades, seed=self.seed, grades=stop is not None
        )
        self.state = folder.latest_state() or PoolState({}, tuple(self.pool))
        if {*self.state.labeled, *self.state.unlabeled, *self.state.unreadable} != set(self.pool):
            raise UserError(
                f"the run in {folder.path} has other knees than the data set",
                "the data set that the run was started with",
                "give the same --data, or begin a new run in another folder",
            )
        folder.clean(self.state)
        folder.write_state(self.state)
        folder.rebuild_rounds_csv()
        # Kept in memory from here on: of several processes only one writes, and the others must decide alike.
        self._rows = {n: folder.row(n) for n in folder.evaluated()}
        self._query = folder.query(self.state)
        self._answers = folder.answers(self.state)
        self._grades: Mapping[str, int] = folder.pool_grades(self.state.round - (self._query is None))

    @property
    def answers(self) -> Mapping[str, int | None]:
        """Answers to the pending query so far; None for a knee that cannot be graded."""
        return dict(self._answers)

    @property
    def missing(self) -> list[str]:
        """Knees of the pending query that are not answered yet, in its order."""
        return [] if self._query is None else [i for i in self._query.ids if i not in self._answers]

    @property
    def finished(self) -> bool:
        """Whether the budget is spent, or the run was stopped, and the last network evaluated."""
        return self._query is not None and not self._query.ids

    @property
    def stopped_early(self) -> bool:
        """Whether `stop` ended it with labels of its budget unspent."""
        left = min(self.schedule.next_query(len(self.state.labeled)), len(self.state.unlabeled))
        return self.finished and left > 0

    def run(self, oracle: Oracle) -> PoolState:
        """Go on until the budget is spent, with an oracle that answers every query at once; returns the final state."""
        failed: BaseException | None = None
        try:
            while self.ask() is not None:
                self.tell(oracle.label(self.missing))
        except BaseException as error:
            failed = error
            raise
        finally:
            for listener in self.listeners:
                listener.run_ended(failed)
        return self.state

    def ask(self) -> Query | None:
        """The query of this round; trains and predicts first where that is still to be done.

        Asking again before all answers are in gives the same query.

        Returns:
            The query, or None once the budget is spent.
        """
        if self._query is None:
            if self.state.labeled:
                self._query = self._train_and_choose()
            else:
                seed = derive_seed(self.seed, "first query")
                self._query = Query(0, tuple(self.first_query(self.state.unlabeled, self.schedule.n_init, seed)))
                self.folder.write_query(self.state, self._query, {})
            if not self._query.ids:
                self._close_round()
        elif self._query.ids and self._answers.keys() >= set(self._query.ids):
            self._advance(self._query)
            return self.ask()
        return None if self.finished else self._query

    def tell(self, answers: Mapping[str, int | None], *, replace: bool = False) -> PoolState:
        """Take answers to the pending query, all or some, in any order.

        They are on disk when this returns. Once the query is answered whole, the state advances.

        Args:
            answers: Knee id to KL grade; None for a knee that cannot be graded, which then leaves the pool.
            replace: Whether an answer may correct an earlier one.

        Returns:
            The state: the next one if the query is answered whole, else the same as before.

        Raises:
            UserError: No query is pending, a knee was not asked for, an invalid grade, or an answer that
                contradicts an earlier one. Nothing of `answers` is taken then.
        """
        query = self._query
        closed = [i for i in answers if i in self.state.labeled or i in self.state.unreadable]
        if closed:
            raise UserError(
                f"answers to a round that is closed: {count(len(closed), 'knee')}, {some(map(repr, closed))}",
                "answers to the pending query; a network was trained on the others",
                "remove those rows, or begin a new run if they must change",
            )
        if self.finished:
            raise UserError(
                f"answers to a finished run, which has {len(self.state.labeled)} labels",
                "answers to a query",
                f"report it with `kneeal report {self.folder.path} --out DIR`, or begin a run with a larger budget",
            )
        if query is None:
            raise UserError(
                "answers without a pending query",
                "answers to the knees asked for",
                f"write the next query with `kneeal ask {self.folder.path}`",
            )
        check_answers(answers, query, self._answers, self.n_grades, replace=replace)
        merged = {**self._answers, **{i: None if kl is None else int(kl) for i, kl in answers.items()}}
        self.folder.write_answers(self.state, merged)
        self._answers = merged
        if len(merged) == len(query.ids):
            self._advance(query)
        return self.state

    def close(self) -> PoolState:
        """Go on with the answers that are in; the next query begins with the knees left unanswered.

        Returns:
            The next state.

        Raises:
            UserError: No query is pending, or none of its knees has a grade.
        """
        if self._query is None or all(kl is None for kl in self._answers.values()):
            raise UserError(
                "a round without a grade", "at least one graded knee of the query", "grade one of its knees"
            )
        self._advance(self._query)
        return self.state

    def finished_rounds(self) -> list[RoundReport]:
        """Reports of the rounds on disk that are finished, oldest first."""
        last = self.state.round + (1 if self.finished else 0)
        return [self.folder.report(number, self.schedule.n_rounds) for number in range(last)]

    def _train_and_choose(self) -> Query:
        state, round = self.state, self.state.round
        for listener in self.listeners:
            listener.round_started(round, len(state.labeled), len(state.unlabeled), self.schedule.n_rounds)
        checkpoint = self.folder.checkpoint(round)
        if round not in self._rows:
            self._fit_and_test(checkpoint)
        n = min(self.schedule.next_query(len(state.labeled)), len(state.unlabeled))
        n = n and max(n, len(state.asked))  # what was asked for stays asked for
        if n == 0:
            return self._end({"predict_seconds": 0.0, "select_seconds": 0.0, **EMPTY_POOL})
        chosen = self.querying.choose(state, checkpoint, n, self._grades)
        self._rows[round].update(chosen.row)
        if self.stop is not None and self.stop([self._rows[k] for k in sorted(self._rows)]):
            return self._end(chosen.row)
        self.folder.write_chosen(state, chosen)
        self._grades = chosen.grades
        return chosen.query

    def _end(self, row: Mapping[str, float]) -> Query:
        """A query without knees, which ends the run."""
        query = Query(self.state.round, ())
        self.folder.write_query(self.state, query, row)
        return query

    def _fit_and_test(self, checkpoint: Path) -> None:
        state, needs = self.state, self.strategy.needs
        previous = self.folder.checkpoint(state.round - 1) if self.warm_start and state.round else None
        start = time.perf_counter()
        val = self.runner.fit(state, checkpoint, previous)
        fitted = time.perf_counter()
        evaluation = self.runner.test(checkpoint, state.round, needs)
        row: dict[str, Any] = {
            "round": state.round,
            "n_labeled": len(state.labeled),
            "n_graded": len(state.labeled) + self.n_free,
            "n_pseudo": len(state.pseudo) if self.consistency else 0,
            **{f"val_{name}": value for name, value in val.items()},
            **{f"test_{name}": value for name, value in evaluation.metrics.items()},
            "fit_seconds": fitted - start,
        }
        self.folder.write_evaluation(state.round, row, evaluation, time.perf_counter() - fitted)
        self._rows[state.round] = row

    def _advance(self, query: Query) -> None:
        in_order = {i: self._answers[i] for i in query.ids if i in self._answers}
        had_labels = bool(self.state.labeled)
        n_labeled = len(self.state.labeled) + sum(kl is not None for kl in in_order.values())
        state = self.state.advance(
            {i: kl for i, kl in in_order.items() if kl is not None},
            query.pseudo[:n_labeled],  # the least uncertain first: U is never larger than D_L
            unreadable=[i for i, kl in in_order.items() if kl is None],
            asked=[i for i in query.ids if i not in in_order],
        )
        self.folder.write_state(state)
        if had_labels:
            self._close_round()
        self.state, self._query, self._answers = state, None, {}

    def _close_round(self) -> None:
        self.folder.rebuild_rounds_csv()
        if self.listeners:
            report = self.folder.report(self.state.round, self.schedule.n_rounds)
            for listener in self.listeners:
                listener.round_finished(report)
