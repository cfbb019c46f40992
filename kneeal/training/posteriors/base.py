"""What posteriors have in common: a runner around plain runners, and the registry."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from kneeal.acquisition import Needs, Posterior, Predictions
from kneeal.loop.runner import Evaluation, Runner
from kneeal.nn.heads import Head
from kneeal.pool import PoolState
from kneeal.registry import Registry
from kneeal.training.lightning_runner import evaluate_test


class Sampler(Runner, Protocol):
    """A runner that says, before anything is trained, whether it can draw posterior samples."""

    def check_samples(self, n_samples: int, network: nn.Module) -> None:
        """Refuse samples that it cannot draw.

        Args:
            n_samples: Samples of each knee.
            network: A network as it trains.

        Raises:
            UserError: It cannot draw that many, or any from such a network.
        """


class MakeRunner(Protocol):
    """Makes a plain runner, which trains one network by the settings of the run."""

    def __call__(self, *, seed: int | None = None, cycles: int = 1, view: int | None = None) -> Sampler:
        """A runner.

        Args:
            seed: Of its weights, order and views; None uses the run's.
            cycles: Divides a fit into this many equal parts, each with the learning-rate schedule of a whole fit.
            view: The index of the random view in which it sees each knee; None leaves the knees unaugmented.
        """


@dataclass(frozen=True)
class Ingredients:
    """Everything a posterior may need."""

    make: MakeRunner  #: Makes plain runners.
    test: Mapping[str, int]  #: Test knees and grades.
    head: Head  #: The head of the network.
    members: int  #: Networks of an ensemble.
    seed: int  #: Seed of the run.


_posteriors: Registry[Callable[[Ingredients], Sampler]] = Registry("posterior", "posterior.method")
register = _posteriors.register
available = _posteriors.names
get = _posteriors.__getitem__


@dataclass(eq=False)
class PosteriorRunner(ABC):
    """Trains, evaluates and predicts by another approximate posterior over the weights.

    A subclass implements sampling (`samples`), and training and the point estimate where they are not those of one
    network.
    """

    plain: Runner  #: Trains one network, which gives the features.
    test_knees: Mapping[str, int]  #: Test knees and grades.

    @abstractmethod
    def check_samples(self, n_samples: int, network: nn.Module) -> None:
        """Refuse samples that it cannot draw, see `Sampler`."""

    def fit(self, state: PoolState, checkpoint: Path, previous: Path | None) -> Mapping[str, float]:
        """Train, see `kneeal.loop.runner.Runner`."""
        return self.plain.fit(state, checkpoint, previous)

    @abstractmethod
    def samples(self, checkpoint: Path, round: int, ids: Sequence[str], n_samples: int) -> Tensor:
        """Log probabilities [N, K, C] in nats; K is `n_samples` where the posterior can give any number."""

    def point(self, checkpoint: Path, round: int, ids: Sequence[str]) -> Tensor:
        """Log probabilities [N, 1, C] of the point estimate, on which the metrics rest."""
        return self.plain.predict(checkpoint, round, ids, Needs(Posterior.POINT)).require_log_probs()

    def features(self, checkpoint: Path, round: int, ids: Sequence[str]) -> Tensor:
        """Feature vectors [N, F]."""
        needs = Needs(Posterior.NONE, features=True)
        return self.plain.predict(checkpoint, round, ids, needs).require_features()

    def test(self, checkpoint: Path, round: int, needs: Needs) -> Evaluation:
        """Metrics of the point estimate; uncertainty of the samples if the strategy uses samples."""
        return evaluate_test(lambda ids, what: self.predict(checkpoint, round, ids, what), self.test_knees, needs)

    def predict(self, checkpoint: Path, round: int, ids: Sequence[str], needs: Needs) -> Predictions:
        """Predict knees, in the order of `ids`."""
        log_probs = None
        if needs.posterior is Posterior.SAMPLES:
            log_probs = self.samples(checkpoint, round, ids, needs.n_samples)
        elif needs.posterior is Posterior.POINT:
            log_probs = self.point(checkpoint, round, ids)
        return Predictions(tuple(ids), log_probs, self.features(checkpoint, round, ids) if needs.features else None)
