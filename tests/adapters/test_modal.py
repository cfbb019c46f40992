from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kneeal.acquisition import get
from kneeal.adapters.modal import modal_query_strategy
from kneeal.errors import UserError

models = pytest.importorskip("modAL.models", reason="modAL is not installed")
uncertainty = pytest.importorskip("modAL.uncertainty", reason="modAL is not installed")
sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")
linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")

# It calls check_X_y with an argument that scikit-learn 1.8 no longer has.
if tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8):
    pytest.skip("modAL does not run beside scikit-learn 1.8 and later", allow_module_level=True)

RNG = np.random.default_rng(0)
Y = np.arange(90) % 3
X = RNG.normal(size=(90, 4)) + 1.5 * np.eye(3, 4)[Y]
FIRST = np.arange(12)


def learner(strategy: str, **options: Any) -> Any:
    return models.ActiveLearner(
        linear.LogisticRegression(),
        query_strategy=modal_query_strategy(get(strategy), **options),
        X_training=X[FIRST],
        y_training=Y[FIRST],
    )


def test_the_query_is_modals_own() -> None:
    ours = learner("margin")
    theirs, _ = uncertainty.margin_sampling(ours, X[12:], n_instances=6)
    positions, samples = ours.query(X[12:], n_instances=6)
    assert set(positions) == set(theirs)
    np.testing.assert_array_equal(samples, X[12:][positions])


@pytest.mark.parametrize(
    "name", ["badge", "bait", "class_balanced", "coreset", "entropy", "random", "typiclust", "uncertainty_herding"]
)
def test_a_loop_of_modal_runs(name: str) -> None:
    ours, pool = learner(name), np.arange(12, 90)
    for _ in range(3):
        positions, _ = ours.query(X[pool], n_instances=5)
        assert len(set(positions)) == 5
        ours.teach(X[pool[positions]], Y[pool[positions]])
        pool = np.delete(pool, positions)
    assert len(ours.X_training) == 27


def test_coreset_keeps_away_from_what_is_labeled() -> None:
    ours = models.ActiveLearner(
        linear.LogisticRegression(),
        query_strategy=modal_query_strategy(get("coreset")),
        X_training=np.array([[0.0, 0.0], [0.1, 0.0]]),
        y_training=np.array([0, 1]),
    )
    positions, _ = ours.query(np.array([[0.0, 0.1], [9.0, 0.0], [0.2, 0.0]]), n_instances=1)
    assert positions.tolist() == [1]


def test_the_members_of_a_committee_are_posterior_samples() -> None:
    members = [
        models.ActiveLearner(linear.LogisticRegression(), X_training=X[s : s + 9], y_training=Y[s : s + 9])
        for s in (0, 9, 18)
    ]
    committee = models.Committee(members, query_strategy=modal_query_strategy(get("mi_mcd")))
    positions, _ = committee.query(X[30:], n_instances=4)
    votes = committee.vote_proba(X[30:])
    mean = votes.mean(axis=1)
    information = -(mean * np.log(mean)).sum(-1) + (votes * np.log(votes)).sum(-1).mean(1)
    assert positions.tolist() == np.argsort(-information)[:4].tolist()


def test_one_learner_is_no_posterior_unless_it_gives_samples() -> None:
    with pytest.raises(UserError, match="posterior samples"):
        learner("mi_mcd").query(X[12:], n_instances=4)
    samples = RNG.dirichlet(np.ones(3), size=(78, 5))
    positions, _ = learner("mi_mcd", probabilities=lambda _, pool: samples[: len(pool)]).query(X[12:], n_instances=4)
    assert len(set(positions)) == 4
