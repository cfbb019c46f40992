"""The frame of a posterior: a runner around another one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from kneeal.acquisition import Needs, Posterior, Predictions, measures
from kneeal.loop.runner import Evaluation, Runner
from kneeal.pool import PoolState
from kneeal.training.metrics import evaluate


class PosteriorRunner(ABC):
    """Trains, evaluates and predicts by another approximate posterior over the weights.

    A subclass says what it trains (`fit`) and how it draws samples (`samples`). The point estimate, on which the
    metrics rest, is `point`: by default the mean of the samples.

    Args:
        test: Test knees and grades.
    """

    def __init__(self, test: Mapping[str, int]) -> None:
        self.test_knees = dict(test)

    @abstractmethod
    def fit(self, state: PoolState, checkpoint: Path, previous: Path | None) -> Mapping[str, float]:
        """Train, see `kneeal.loop.runner.Runner`."""

    @abstractmethod
    def samples(self, checkpoint: Path, round: int, ids: Sequence[str], n_samples: int) -> Tensor:
        """Log probabilities [N, K, C] in nats; K is `n_samples` where the posterior can give any number."""

    @abstractmethod
    def features(self, checkpoint: Path, round: int, ids: Sequence[str]) -> Tensor:
        """Feature vectors [N, F] of one network."""

    def point(self, checkpoint: Path, round: int, ids: Sequence[str]) -> Tensor:
        """Log probabilities [N, C] of the point estimate."""
        return measures.mean_log_probs(self.samples(checkpoint, round, ids, 50))

    def test(self, checkpoint: Path, round: int, needs: Needs) -> Evaluation:
        """Metrics of the point estimate; uncertainty of the samples where the strategy uses samples."""
        ids, kl = tuple(self.test_knees), tuple(self.test_knees.values())
        log_probs = self.point(checkpoint, round, ids)
        uncertain = log_probs.unsqueeze(1)
        if needs.posterior is Posterior.SAMPLES:
            uncertain = self.samples(checkpoint, round, ids, needs.n_samples)
        metrics, confusion = evaluate(log_probs, torch.tensor(kl))
        return Evaluation(metrics, confusion, ids, kl, log_probs.exp(), measures.entropy(uncertain))

    def predict(self, checkpoint: Path, round: int, ids: Sequence[str], needs: Needs) -> Predictions:
        """Predict knees, in the order of `ids`."""
        log_probs = None
        if needs.posterior is Posterior.SAMPLES:
            log_probs = self.samples(checkpoint, round, ids, needs.n_samples)
        elif needs.posterior is Posterior.POINT:
            log_probs = self.point(checkpoint, round, ids).unsqueeze(1)
        return Predictions(tuple(ids), log_probs, self.features(checkpoint, round, ids) if needs.features else None)


def log_probs_of(runner: Runner, checkpoint: Path, round: int, ids: Sequence[str], needs: Needs) -> Tensor:
    """The log probabilities [N, K, C] that a runner predicts."""
    return runner.predict(checkpoint, round, ids, needs).require_log_probs()


def features_by(runner: Runner, checkpoint: Path, round: int, ids: Sequence[str]) -> Tensor:
    """The features [N, F] that a runner predicts."""
    features = runner.predict(checkpoint, round, ids, Needs(Posterior.NONE, features=True)).features
    if features is None:
        raise RuntimeError("a prediction without the features that were asked for")
    return features


def share_out(n_samples: int, n_members: int) -> list[int]:
    """How many samples each member draws: the same for all, at least 1, together at least `n_samples`."""
    return [max(1, math.ceil(n_samples / n_members))] * n_members
