"""Strategies for ordered grades: confusing 0 with 4 is worse than confusing 0 with 1.

Grades are the numbers 0 .. C-1. p is the mean over the posterior samples.
"""

import torch
from torch import Tensor

from kneeal.acquisition import measures
from kneeal.acquisition.options import check_choice
from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.registry import register
from kneeal.acquisition.strategy import SamplingStrategy


@register("expected_grade_variance")
class ExpectedGradeVariance(SamplingStrategy):
    """The knees with the highest variance of the grade: the expected squared error of the best guess.

    By the law of total variance, total = data + epistemic, as for the entropy.

    Args:
        part: "total", Var[y]; "data", the mean over the samples of Var_k[y]; or "epistemic", the variance over the
            samples of the expected grade E_k[y].
        n_samples: Number of posterior samples K, at least 2.
    """

    source = "kneeal; law of total variance as in Depeweg et al., ICML 2018"

    def __init__(self, *, part: str = "total", n_samples: int = 50) -> None:
        super().__init__(n_samples=n_samples)
        self.part = check_choice("part", part, ("total", "data", "epistemic"))

    def score(self, predictions: Predictions) -> Tensor:
        """The variance of the grade, or one part of it, [N] in [0, (C - 1)^2 / 4]."""
        is_disagreement = self.part == "epistemic"
        log_probs = predictions.require_samples() if is_disagreement else predictions.require_log_probs()
        probs = log_probs.exp()  # [N, K, C]
        # Centered, so that the difference of squares loses little precision.
        grades = torch.arange(probs.shape[2], dtype=probs.dtype, device=probs.device) - (probs.shape[2] - 1) / 2
        mean, square = probs @ grades, probs @ grades.square()  # [N, K]
        data = (square - mean.square()).clamp(min=0.0).mean(dim=1)
        epistemic = mean.var(dim=1, correction=0)
        return {"data": data, "epistemic": epistemic, "total": data + epistemic}[self.part]


@register("expected_absolute_error")
class ExpectedAbsoluteError(SamplingStrategy):
    """The knees with the highest expected absolute error of the best guess, in grades."""

    source = "kneeal; expected risk as in Roy and McCallum, ICML 2001, with the absolute error of ordered grades"

    def score(self, predictions: Predictions) -> Tensor:
        """Min over guesses g of sum_c p(c) |c - g|, [N] in [0, (C - 1) / 2]; the best guess is the median."""
        probs = measures.mean_log_probs(predictions.require_log_probs()).exp()
        grades = torch.arange(probs.shape[1], dtype=probs.dtype, device=probs.device)
        risks = probs @ (grades[:, None] - grades).abs()  # [N, guesses]
        return risks.amin(dim=1)
