"""From the network of a round to its query and the next pseudo pool."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from kneeal.acquisition import Needs, Posterior, Predictions, Strategy, top_n
from kneeal.acquisition.checked import Checked
from kneeal.errors import UserError
from kneeal.loop.query import Query
from kneeal.loop.runner import Runner
from kneeal.pool import PoolState
from kneeal.seeds import derive_seed


@dataclass(frozen=True)
class Chosen:
    """A query with what it was chosen by.

    Attributes:
        query: The query and the next pseudo pool.
        predictions: Of the unlabeled knees, as the strategy needs them.
        scores: Score of each unlabeled knee.
        seconds: `predict_seconds` and `select_seconds`.
    """

    query: Query
    predictions: Predictions
    scores: Mapping[str, float]
    seconds: Mapping[str, float]


class Querying:
    """Predicts the pool and chooses from it.

    Args:
        runner: Predicts.
        strategy: Scores the pool and selects the query.
        uncertainty: Whose score chooses the pseudo pool U; None where there is no U.
        n_grades: Number of grades.
        seed: Seed of every selection.

    Raises:
        UserError: `uncertainty` does not score uncertainty.
    """

    def __init__(
        self, runner: Runner, strategy: Strategy, uncertainty: Strategy | None, *, n_grades: int, seed: int
    ) -> None:
        if uncertainty is not None:
            check_uncertainty(uncertainty)
        self.runner = runner
        self.strategy = Checked(strategy)
        self.uncertainty = None
        if uncertainty is not None:
            self.uncertainty = self.strategy if uncertainty is strategy else Checked(uncertainty)
        self.n_grades = n_grades
        self.seed = seed

    def choose(self, state: PoolState, checkpoint: Path, n: int) -> Chosen:
        """The n knees to ask for, those carried over from earlier queries first, and the next pseudo pool."""
        start = time.perf_counter()
        predictions, certain, labeled = self._predict(state, checkpoint)
        predicted = time.perf_counter()
        ids = list(state.asked)
        if n > len(ids):
            seed = derive_seed(self.seed, "select", state.round)
            asked = set(ids)
            rest = [position for position, i in enumerate(predictions.ids) if i not in asked]
            fresh = predictions.take(rest) if asked else predictions
            ids += self.strategy.select(fresh, n - len(ids), labeled=labeled, seed=seed)
        scores = dict(zip(predictions.ids, predictions.once(self.strategy.score).tolist(), strict=True))
        query = Query(state.round, tuple(ids), self._pseudo(state, certain, ids), {i: scores[i] for i in ids})
        seconds = {"predict_seconds": predicted - start, "select_seconds": time.perf_counter() - predicted}
        return Chosen(query, predictions, scores, seconds)

    def _pseudo(self, state: PoolState, predictions: Predictions, query: Sequence[str]) -> tuple[str, ...]:
        """The least uncertain knees that stay unlabeled, as many as there will be labeled ones."""
        if self.uncertainty is None:
            return ()
        asked = set(query)
        rest = [position for position, i in enumerate(predictions.ids) if i not in asked]
        n = min(len(state.labeled) + len(query), len(rest))
        ids, uncertainty = [predictions.ids[k] for k in rest], predictions.once(self.uncertainty.score)[rest]
        return top_n(ids, uncertainty, n, seed=derive_seed(self.seed, "pseudo", state.round), largest=False)

    def _predict(self, state: PoolState, checkpoint: Path) -> tuple[Predictions, Predictions, Predictions | None]:
        """The pool as the strategy needs it, as the pseudo pool's measure needs it, and the labeled knees."""
        needs = self.strategy.needs
        certain_needs = needs if self.uncertainty is None else self.uncertainty.needs
        both = needs.merged(certain_needs)
        counts = torch.bincount(torch.tensor([*state.labeled.values()]), minlength=self.n_grades)

        def predict(ids: Sequence[str], what: Needs) -> Predictions:
            if what.posterior is Posterior.NONE and not what.features:
                return Predictions(tuple(ids))
            predictions = self.runner.predict(checkpoint, state.round, ids, what)
            return replace(predictions, label_counts=counts) if what.label_counts else predictions

        predictions = predict(state.unlabeled, both or needs)
        certain = predictions if both else predict(state.unlabeled, certain_needs)
        return predictions, certain, predict(tuple(state.labeled), needs) if needs.features else None


def check_uncertainty(strategy: Strategy) -> None:
    """Refuse a strategy that cannot choose the pseudo pool.

    Raises:
        UserError: It does not score uncertainty.
    """
    if not strategy.scores_uncertainty:
        raise UserError(
            f"consistency with the strategy {strategy}, which has no uncertainty",
            "a measure of uncertainty to choose the pseudo pool U by",
            "turn consistency off (--no-ssl), choose another --strategy, or name one whose score chooses U "
            "(--set active.pseudo_by=entropy_mcd)",
        )
