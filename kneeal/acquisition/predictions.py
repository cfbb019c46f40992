"""What a strategy is given: predictive probabilities of the pool."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_TOLERANCE = 1e-3


class Posterior(enum.Enum):
    """What a strategy needs to be given."""

    NONE = "none"
    """Nothing: it does not look at the predictions."""
    POINT = "point"
    """One deterministic prediction a knee, K = 1."""
    SAMPLES = "samples"
    """K predictions a knee, drawn from an approximate posterior over the weights."""


@dataclass(frozen=True)
class Predictions:
    """Predictive probabilities of N knees (or any other samples).

    Attributes:
        ids: N distinct ids.
        log_probs: [N, K, C] log probabilities in nats, K = posterior samples; None for Posterior.NONE.
        features: [N, F] feature vectors, where the strategy needs them.

    Raises:
        ValueError: The shapes disagree, an id comes twice, or the probabilities are none.
    """

    ids: tuple[str, ...]
    log_probs: Tensor | None = None
    features: Tensor | None = None

    def __post_init__(self) -> None:
        """Check shapes and values."""
        object.__setattr__(self, "ids", tuple(self.ids))
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("ids must be distinct.")
        if self.log_probs is not None:
            check_log_probs(self.log_probs)
            if len(self.log_probs) != len(self.ids):
                raise ValueError(
                    f"log_probs must have one row an id, but got {len(self.log_probs)} for {len(self.ids)}."
                )
        if self.features is not None and (self.features.ndim != 2 or len(self.features) != len(self.ids)):
            raise ValueError(
                f"features must be [N, F] with N = {len(self.ids)} ids, but got {tuple(self.features.shape)}."
            )

    def __len__(self) -> int:
        """Number of knees N."""
        return len(self.ids)

    def given(self) -> Tensor:
        """The log probabilities [N, K, C].

        Raises:
            ValueError: There are none.
        """
        if self.log_probs is None:
            raise ValueError("the strategy needs log_probs, but the predictions hold none.")
        return self.log_probs

    def take(self, positions: Sequence[int]) -> Predictions:
        """The predictions at some positions, in that order."""
        index = torch.as_tensor(positions, dtype=torch.long)
        return Predictions(
            tuple(self.ids[p] for p in positions),
            None if self.log_probs is None else self.log_probs[index],
            None if self.features is None else self.features[index],
        )


def check_log_probs(log_probs: Tensor) -> None:
    """Refuse what is not a tensor of log probabilities [N, K, C].

    Raises:
        ValueError: Wrong shape, NaN, a probability above 1, or probabilities that do not sum to 1.
    """
    if log_probs.ndim != 3 or 0 in log_probs.shape[1:]:
        raise ValueError(f"log_probs must be [N, K, C] with K, C >= 1, but got {tuple(log_probs.shape)}.")
    if not log_probs.is_floating_point():
        raise ValueError(f"log_probs must be of a floating-point type, but got {log_probs.dtype}.")
    for part in torch.split(log_probs, _CHUNK):
        total = part.logsumexp(dim=-1)
        if not bool((total.abs() <= _TOLERANCE).all()):  # false for NaN, too
            worst = total[~(total.abs() <= _TOLERANCE)][0]
            raise ValueError(
                f"log_probs must be normalized over the classes, but one row sums to exp({float(worst):.4g})."
            )


#: Rows looked at together, so that a million knees need little memory beyond the predictions.
_CHUNK = 65536
