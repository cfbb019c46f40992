"""The contract of an acquisition strategy."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from kneeal.acquisition.predictions import Needs, Posterior, Predictions
from kneeal.errors import UserError


class Strategy(ABC):
    """Scores the pool and selects the query.

    A subclass declares what it needs and implements `score`. Options are keyword arguments of its constructor.
    A wrapper passes on the `needs` of the wrapped strategy, see `wrappers.Wrapper`.

    Attributes:
        name: The name given to `get`; otherwise that of the class.
        posterior: The predictive probabilities that it needs.
        n_samples: Number of posterior samples K, if `posterior` is SAMPLES.
        needs_features: Whether it needs feature vectors, of the pool and of the labeled knees.
        needs_label_counts: Whether it needs the number of labeled knees of each grade.
        source: The publication or person that it comes from.
        batch_aware: Whether it chooses knees jointly, so that a query does not repeat itself.
        pointwise: Whether the score of a knee depends on that knee alone; False if `score` compares it with others.
    """

    name: str = ""
    posterior: Posterior
    n_samples: int = 50
    needs_features: bool = False
    needs_label_counts: bool = False
    batch_aware: bool = False
    pointwise: bool = True
    source: str = ""

    def __str__(self) -> str:
        return self.name or type(self).__name__

    @property
    def needs(self) -> Needs:
        """What predictions must hold."""
        n_samples = self.n_samples if self.posterior is Posterior.SAMPLES else 1
        return Needs(self.posterior, n_samples, self.needs_features, self.needs_label_counts)

    @property
    def scores_uncertainty(self) -> bool:
        """Whether a low score means that the network is certain about a knee."""
        return self.needs.posterior is not Posterior.NONE

    @abstractmethod
    def score(self, predictions: Predictions) -> Tensor:
        """How useful the label of each knee would be.

        Args:
            predictions: The pool, with what `needs` asks for.

        Returns:
            [N], larger = query sooner.
        """

    def select(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None = None, seed: int
    ) -> tuple[str, ...]:
        """The query: by default the n knees with the highest scores.

        Args:
            predictions: The pool, with what `needs` asks for.
            n: Size of the query, in [0, N].
            labeled: The labeled knees, for strategies that need features.
            seed: Decides between equal scores and everything else that is random.

        Returns:
            n distinct ids, best first.

        Raises:
            ValueError: n is not in [0, N], or a score is not finite.
        """
        return top_n(predictions.ids, predictions.once(self.score), n, seed=seed)


class SamplingStrategy(Strategy):
    """A strategy on posterior samples.

    Args:
        n_samples: Number of posterior samples K, at least 2 (50 in the paper).

    Raises:
        UserError: n_samples is not such a number.
    """

    posterior = Posterior.SAMPLES

    def __init__(self, *, n_samples: int = 50) -> None:
        self.n_samples = check_int("n_samples", n_samples, 2)


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Say in every error which strategy raised it."""
    try:
        yield
    except UserError as error:
        raise error.within(f"the strategy {name}") from error
    except Exception as error:
        error.add_note(f"raised by the strategy {name}")
        raise


def check_query_size(n: int, pool_size: int) -> None:
    """Refuse a query that a pool of `pool_size` knees cannot fill.

    Raises:
        ValueError: n is not in [0, pool_size].
    """
    if not 0 <= n <= pool_size:
        raise ValueError(f"n must be between 0 and the {pool_size} knees of the pool, but got {n=}.")


def top_n(ids: Sequence[str], scores: Tensor, n: int, *, seed: int, largest: bool = True) -> tuple[str, ...]:
    """The n ids with the largest (or smallest) scores, equal scores in an order that the ids and the seed determine.

    Args:
        ids: N distinct ids.
        scores: [N], finite.
        n: Number of ids, in [0, N].
        seed: Decides between equal scores.
        largest: False for the smallest.

    Returns:
        n ids, the most extreme first.

    Raises:
        ValueError: n is not in [0, N], or a score is not finite.
    """
    check_query_size(n, len(ids))
    if not bool(torch.isfinite(scores).all()):
        raise ValueError("scores must be finite, but some are not.")
    order = torch.tensor(seeded_order(ids, seed), dtype=torch.long)
    by_score = torch.argsort(scores.detach().cpu()[order], descending=largest, stable=True)
    return tuple(ids[k] for k in order[by_score[:n]].tolist())


def seeded_order(ids: Sequence[str], seed: int) -> list[int]:
    """Positions of the ids in a random order: that of a hash of seed and id.

    The order of two ids depends on nothing else, neither on their positions nor on the other ids.
    """
    digests = [hashlib.blake2b(f"{seed}\x1f{knee}".encode(), digest_size=16).digest() for knee in ids]
    return sorted(range(len(ids)), key=digests.__getitem__)


def check_int(name: str, value: object, minimum: int = 1) -> int:
    """The value, if it is an integer of at least `minimum`.

    Raises:
        UserError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise UserError(f"{name} = {value!r}", f"a whole number of at least {minimum}", f"correct {name}")
    return value


def check_float(name: str, value: object, low: float, high: float = math.inf) -> float:
    """The value, if it is a finite number above `low` and at most `high`.

    Raises:
        UserError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low < value <= high or math.isinf(value):
        bounds = f"above {low:g}" + (f" and at most {high:g}" if high < math.inf else "")
        raise UserError(f"{name} = {value!r}", f"a number {bounds}", f"correct {name}")
    return float(value)


def check_choice(name: str, value: str, choices: Iterable[str]) -> str:
    """The value, if it is one of the choices.

    Raises:
        UserError: It is not.
    """
    if value not in (known := tuple(choices)):
        raise UserError(f"{name} = {value!r}", f"one of: {', '.join(known)}", f"correct {name}")
    return value
