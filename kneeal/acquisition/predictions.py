"""The input of a strategy: predictive probabilities and features of the pool."""

from __future__ import annotations

import enum
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

_TOLERANCE = 1e-3
_HALF = (torch.float16, torch.bfloat16)
#: Rows checked at a time, so that a million knees need little memory beyond the predictions.
_CHUNK = 65536


class Posterior(enum.Enum):
    """Which predictive probabilities a strategy needs."""

    NONE = "none"  #: None at all.
    POINT = "point"  #: One deterministic prediction per knee, K = 1.
    SAMPLES = "samples"  #: K predictions per knee, drawn from an approximate posterior over the weights.


@dataclass(frozen=True)
class Needs:
    """What predictions must hold."""

    posterior: Posterior  #: None, a point estimate or posterior samples.
    n_samples: int = 1  #: Number of posterior samples K; 1 unless `posterior` is SAMPLES.
    features: bool = False  #: Whether feature vectors are needed.
    label_counts: bool = False  #: Whether the number of labeled knees of each grade is needed.

    def joined(self, other: Needs) -> Needs:
        """The needs of both, with the richer of the two posteriors."""
        order = tuple(Posterior)
        richer = max(self, other, key=lambda needs: (order.index(needs.posterior), needs.n_samples))
        return replace(
            richer, features=self.features or other.features, label_counts=self.label_counts or other.label_counts
        )

    def merged(self, other: Needs) -> Needs | None:
        """The needs of both, or None if they differ in the posterior, so that one prediction cannot serve both."""
        kinds = {(n.posterior, n.n_samples) for n in (self, other) if n.posterior is not Posterior.NONE}
        return self.joined(other) if len(kinds) < 2 else None


@dataclass(frozen=True)
class Predictions:
    """Predictions for N knees (or any other samples), as tensors, numpy arrays or lists.

    Raises:
        ValueError: The shapes disagree, an id is repeated, or the probabilities are invalid.
    """

    ids: tuple[str, ...]  #: N distinct ids.
    log_probs: Tensor | None = None  #: [N, K, C] in nats, K = posterior samples; None for Posterior.NONE.
    features: Tensor | None = None  #: [N, F] feature vectors, if the strategy needs them.
    #: [C] number of labeled knees of each grade (not of these N), if the strategy needs it.
    label_counts: Tensor | None = None
    _memo: dict[Callable[[Predictions], Tensor], Tensor] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(self.ids))
        for name in ("log_probs", "features", "label_counts"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, torch.as_tensor(value))
        n = len(self.ids)
        if len(set(self.ids)) != n:
            raise ValueError("ids must be distinct.")
        if self.log_probs is not None:
            check_log_probs(self.log_probs)
            if len(self.log_probs) != n:
                raise ValueError(f"log_probs must have one row per id, but got {len(self.log_probs)} for {n}.")
        if self.features is not None and (self.features.ndim != 2 or len(self.features) != n):
            raise ValueError(f"features must be [N, F] with N = {n} ids, but got {tuple(self.features.shape)}.")
        counts, classes = self.label_counts, None if self.log_probs is None else self.log_probs.shape[2]
        if counts is not None and (counts.ndim != 1 or classes not in (None, len(counts)) or bool((counts < 0).any())):
            raise ValueError(f"label_counts must be [C] >= 0 with C as in log_probs, but got {counts}.")

    def __len__(self) -> int:
        return len(self.ids)

    def require_log_probs(self) -> Tensor:
        """The log probabilities [N, K, C] in single or double precision.

        Raises:
            ValueError: There are none.
        """
        return full_precision(_present(self.log_probs, "log_probs"))

    def require_samples(self) -> Tensor:
        """The log probabilities [N, K, C] of posterior samples, for strategies that measure their disagreement.

        Warns:
            UserWarning: All samples of every knee are equal, so that their disagreement says nothing.

        Raises:
            ValueError: There are none.
        """
        log_probs = self.require_log_probs()
        if len(self) and all(bool((part == part[:, :1]).all()) for part in torch.split(log_probs, _CHUNK)):
            found = "one posterior sample" if log_probs.shape[1] == 1 else "equal posterior samples"
            warnings.warn(
                f"a strategy that measures the disagreement of posterior samples was given {found} for every knee, so "
                "its query is random: draw at least 2 samples, with dropout above 0 or from different networks",
                stacklevel=2,
            )
        return log_probs

    def require_features(self) -> Tensor:
        """The feature vectors [N, F] on the CPU, in single or double precision.

        Raises:
            ValueError: There are none, or some are not finite.
        """
        features = _present(self.features, "features").detach().cpu()
        features = features if features.dtype == torch.float64 else features.float()
        if not bool(torch.isfinite(features).all()):
            raise ValueError("features must be finite, but some are not.")
        return features

    def require_label_counts(self) -> Tensor:
        """Number of labeled knees of each grade, float64 [C] on the CPU.

        Raises:
            ValueError: There are none.
        """
        return _present(self.label_counts, "label_counts").detach().cpu().double()

    def once(self, function: Callable[[Predictions], Tensor]) -> Tensor:
        """The cached result of a function of these predictions.

        Selecting a query and reporting it both need a strategy's scores: `predictions.once(strategy.score)`.
        """
        if function not in self._memo:
            self._memo[function] = function(self)
        return self._memo[function]

    def take(self, positions: Sequence[int]) -> Predictions:
        """The predictions at the given positions, in that order."""
        index = torch.as_tensor(positions, dtype=torch.long)
        return replace(
            self,
            ids=tuple(self.ids[p] for p in positions),
            log_probs=None if self.log_probs is None else self.log_probs[index],
            features=None if self.features is None else self.features[index],
        )

    def joined(self, other: Predictions) -> Predictions:
        """These knees followed by those of `other`; tensors that either lacks are left out."""

        def both(first: Tensor | None, second: Tensor | None) -> Tensor | None:
            return None if first is None or second is None else torch.cat([first, second.to(first)])

        return replace(
            self,
            ids=(*self.ids, *other.ids),
            log_probs=both(self.log_probs, other.log_probs),
            features=both(self.features, other.features),
        )


def _present(value: Tensor | None, name: str) -> Tensor:
    if value is None:
        raise ValueError(f"the strategy needs {name}, but the predictions have none.")
    return value


def check_log_probs(log_probs: Tensor) -> None:
    """Refuse anything but log probabilities [N, K, C].

    Raises:
        ValueError: Wrong shape, NaN, a probability above 1, or probabilities that do not sum to 1.
    """
    if log_probs.ndim != 3 or 0 in log_probs.shape[1:]:
        raise ValueError(f"log_probs must be [N, K, C] with K, C >= 1, but got {tuple(log_probs.shape)}.")
    if not log_probs.is_floating_point():
        raise ValueError(f"log_probs must have a floating-point type, but got {log_probs.dtype}.")
    tolerance = _TOLERANCE
    if log_probs.dtype in _HALF:  # rounding log p moves the sum by at most eps / 2 * H(p)
        tolerance += torch.finfo(log_probs.dtype).eps * math.log(log_probs.shape[2])
    for part in torch.split(log_probs, _CHUNK):
        total = (part.float() if part.dtype in _HALF else part).logsumexp(dim=-1)
        if not bool((total.abs() <= tolerance).all()):  # false for NaN, too
            worst = total[~(total.abs() <= tolerance)][0]
            raise ValueError(
                f"log_probs must be normalized over the classes, but one row sums to exp({float(worst):.4g})."
            )


def full_precision(log_probs: Tensor) -> Tensor:
    """Log probabilities [N, K, C] in single or double precision.

    Half precision is converted and normalized, since its rounding is too coarse for differences of entropies.
    """
    return log_probs.float().log_softmax(dim=-1) if log_probs.dtype in _HALF else log_probs
