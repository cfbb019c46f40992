"""How good the grades are: the metrics of one evaluation."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_cohen_kappa,
    multiclass_confusion_matrix,
)


def balanced_accuracy(confusion: Tensor) -> Tensor:
    """Mean recall over the grades that are present.

    A grade without a single knee has no recall and does not count. (torchmetrics' macro accuracy counts
    a grade that is predicted but absent as a recall of 0.)

    Args:
        confusion: [C, C] counts, row = true grade, column = predicted grade.

    Returns:
        A scalar in [0, 1]; NaN without any knee.
    """
    support = confusion.sum(dim=1)
    present = support > 0
    return (confusion.diagonal()[present].double() / support[present].double()).mean()


def evaluate(log_probs: Tensor, kl: Tensor) -> tuple[dict[str, float], list[list[int]]]:
    """Every metric of a set of graded knees.

    Args:
        log_probs: [N, C] predictive log probabilities in nats.
        kl: [N] true KL grades.

    Returns:
        The metrics by name and the confusion matrix [C, C] (row = true grade). `balanced_accuracy` and
        `recall_<grade>` in [0, 1] (NaN where a grade is absent), `quadratic_kappa` in [-1, 1], `mae` in
        grades, `ece` in [0, 1] (expected calibration error over 15 bins of equal width: Guo et al., ICML 2017),
        `nll` in nats.
    """
    n_grades = log_probs.shape[1]
    log_probs = log_probs.detach().double().cpu()
    kl = kl.detach().long().cpu()
    predicted = log_probs.argmax(dim=1)
    confusion = multiclass_confusion_matrix(predicted, kl, num_classes=n_grades)
    recalls = confusion.diagonal().double() / confusion.sum(dim=1).double()
    metrics = {
        "balanced_accuracy": balanced_accuracy(confusion),
        "quadratic_kappa": multiclass_cohen_kappa(predicted, kl, num_classes=n_grades, weights="quadratic"),
        "mae": (predicted - kl).abs().double().mean(),
        "ece": multiclass_calibration_error(log_probs.exp(), kl, num_classes=n_grades, n_bins=15, norm="l1"),
        "nll": torch.nn.functional.nll_loss(log_probs, kl),
        **{f"recall_{grade}": recalls[grade] for grade in range(n_grades)},
    }
    return {name: float(value) for name, value in metrics.items()}, confusion.tolist()
