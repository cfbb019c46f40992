"""From the network of a round to its query and the next pseudo pool."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path

import torch

from kneeal.acquisition import Needs, Posterior, Predictions, Strategy, measures, top_n
from kneeal.acquisition.wrappers import Checked
from kneeal.errors import UserError
from kneeal.loop.query import Query
from kneeal.loop.runner import Runner
from kneeal.loop.stopping import cohen_kappa
from kneeal.pool import PoolState
from kneeal.seeds import derive_seed

#: What rounds.csv says about a pool without predictions.
EMPTY_POOL: Mapping[str, float] = {"pool_uncertainty": math.nan, "pool_agreement": math.nan}


@dataclass(frozen=True)
class Chosen:
    """A query with what it was chosen by."""

    query: Query  #: The query and the next pseudo pool.
    predictions: Predictions  #: Of the unlabeled knees, as the strategy needs them.
    scores: Mapping[str, float]  #: Score of each unlabeled knee.
    #: For rounds.csv: `predict_seconds` and `select_seconds`, and of the unlabeled knees the mean uncertainty in nats
    #: (`pool_uncertainty`) and how well their grades agree with those of the round before (`pool_agreement`, Cohen's
    #: kappa); NaN where there are no probabilities.
    row: Mapping[str, float]
    grades: Mapping[str, int]  #: Predicted grade of each unlabeled knee, where there are probabilities.


@dataclass(eq=False)
class Querying:
    """Predicts the pool and chooses from it.

    Raises:
        UserError: `uncertainty` does not score uncertainty.
    """

    runner: Runner  #: Predicts.
    strategy: Strategy  #: Scores the pool and selects the query.
    uncertainty: Strategy | None  #: Whose score chooses the pseudo pool U; None where there is no U.
    _: KW_ONLY
    n_grades: int  #: Number of grades.
    seed: int  #: Seed of every selection.
    grades: bool = False  #: Whether to predict the grades of the pool even if the strategy needs no probabilities.

    def __post_init__(self) -> None:
        checked = Checked(self.strategy)
        if self.uncertainty is not None:
            check_uncertainty(self.uncertainty)
            self.uncertainty = checked if self.uncertainty is self.strategy else Checked(self.uncertainty)
        self.strategy = checked

    def choose(self, state: PoolState, checkpoint: Path, n: int, earlier: Mapping[str, int]) -> Chosen:
        """The n knees to ask for, those carried over from earlier queries first, and the next pseudo pool.

        Args:
            state: The pool.
            checkpoint: Of the network that predicts it.
            n: Size of the query.
            earlier: Grades that the network of the round before predicted; may be empty.
        """
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
        grades, pool = _summarize(predictions, earlier)
        return Chosen(query, predictions, scores, {**seconds, **pool}, grades)

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
        needs = self.strategy.needs.joined(Needs(Posterior.POINT)) if self.grades else self.strategy.needs
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


def _summarize(predictions: Predictions, earlier: Mapping[str, int]) -> tuple[dict[str, int], dict[str, float]]:
    """The predicted grades, and what rounds.csv says about the pool."""
    if predictions.log_probs is None or not len(predictions):
        return {}, dict(EMPTY_POOL)
    mean = measures.mean_log_probs(predictions.require_log_probs())
    grades = dict(zip(predictions.ids, mean.argmax(dim=-1).tolist(), strict=True))
    both = [i for i in predictions.ids if i in earlier]
    kappa = cohen_kappa([grades[i] for i in both], [earlier[i] for i in both]) if both else math.nan
    return grades, {"pool_uncertainty": float(measures.entropy(mean.unsqueeze(1)).mean()), "pool_agreement": kappa}


def check_uncertainty(strategy: Strategy) -> None:
    """Refuse a strategy that cannot choose the pseudo pool."""
    if not strategy.scores_uncertainty:
        raise UserError(
            f"consistency with the strategy {strategy}, which scores no uncertainty",
            "a measure of uncertainty to choose the pseudo pool U by",
            "turn consistency off (--no-ssl), choose another --strategy, or name one whose score chooses U "
            "(--set active.pseudo_by=entropy_mcd)",
        )
