"""From the arrays of other libraries to what a strategy is given."""

from typing import Any

import torch
from torch import Tensor

from kneeal.acquisition import Posterior, Predictions, Strategy
from kneeal.errors import UserError


def predictions_of(
    strategy: Strategy, n: int, probs: Any, features: Any, labels: Any = None, *, of: str = "pool"
) -> Predictions:
    """What a strategy needs, from arrays.

    Args:
        strategy: Any strategy.
        n: Number of samples N.
        probs: Probabilities [N, K, C], or [N, C]; None if the strategy needs none.
        features: [N, F]; None if it needs none.
        labels: Class index of each labeled sample; None if it needs no label counts.
        of: What the samples are, for messages: "pool" or "labeled samples".

    Returns:
        Predictions whose ids are the positions "0", "1", ..., with the prefix "labeled" if they are not of the pool.

    Raises:
        UserError: Something that it needs is missing.
    """
    needs, log_probs, vectors, counts = strategy.needs, None, None, None

    def present(value: Any, what: str, cure: str) -> Tensor:
        if value is None:
            raise UserError(f"{strategy} without {what} of the {of}", what, cure)
        return torch.as_tensor(value)

    if needs.posterior is not Posterior.NONE:
        tensor = present(probs, "probabilities", "pass them, see docs/other-projects.md").double()
        tensor = tensor if tensor.ndim == 3 else tensor.unsqueeze(1)
        if needs.posterior is Posterior.POINT:
            tensor = tensor.mean(dim=1, keepdim=True)
        elif tensor.shape[1] < 2:
            raise UserError(
                f"{strategy}, which needs posterior samples, with one prediction for each of the {of}",
                "at least 2 predictions each, by Monte-Carlo dropout or a committee",
                "pass samples, or choose a strategy that needs a point prediction",
            )
        log_probs = tensor.log()
        if needs.label_counts:
            classes = present(labels, "the class of each labeled sample, besides the predictions", "pass `labels`")
            counts = torch.bincount(classes.long(), minlength=tensor.shape[2])
    if needs.features:
        vectors = present(features, "feature vectors [N, F]", "pass `features`").float()
    prefix = "" if of == "pool" else "labeled"
    return Predictions(tuple(f"{prefix}{k}" for k in range(n)), log_probs, vectors, counts)
