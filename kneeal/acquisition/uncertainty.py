"""Strategies that query the knees with the highest scores, each by itself: the paper's five and other measures.

p is the mean over the posterior samples. Ordered grades are the numbers 0 .. C-1: confusing 0 with 4 is worse than
confusing 0 with 1.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kneeal.acquisition import measures
from kneeal.acquisition.predictions import Posterior, Predictions
from kneeal.acquisition.registry import register
from kneeal.acquisition.strategy import SamplingStrategy, Strategy, check_choice

_GAL = "Gal, Islam and Ghahramani, Deep Bayesian Active Learning with Image Data, ICML 2017"


@register("random")
class Random(Strategy):
    """Knees drawn uniformly."""

    posterior = Posterior.NONE
    source = "the baseline"

    def score(self, predictions: Predictions) -> Tensor:
        """Zeros [N]: `select` draws uniformly among equal scores."""
        return torch.zeros(len(predictions))


@register("least_confidence")
class LeastConfidence(Strategy):
    """The knees whose most probable grade is least probable."""

    posterior = Posterior.POINT
    source = "Lewis and Gale, A Sequential Algorithm for Training Text Classifiers, SIGIR 1994"

    def score(self, predictions: Predictions) -> Tensor:
        """1 - max_c p(c|x), [N] in [0, 1 - 1/C]."""
        return measures.least_confidence(predictions.require_log_probs())


@register("entropy")
class Entropy(Strategy):
    """The knees with the highest predictive entropy in one deterministic pass."""

    posterior = Posterior.POINT
    source = "Shannon, A Mathematical Theory of Communication, Bell System Technical Journal 27, 1948"

    def score(self, predictions: Predictions) -> Tensor:
        """H(p), [N] in [0, log C] nats."""
        return measures.entropy(predictions.require_log_probs())


@register("entropy_mcd")
class EntropyMCD(SamplingStrategy, Entropy):
    """The knees with the highest total uncertainty: entropy of the mean over dropout samples."""

    source = _GAL


@register("bald")
@register("mi_mcd")
class MutualInformationMCD(SamplingStrategy):
    """The knees with the highest epistemic uncertainty: mutual information of grade and weights."""

    source = f"Houlsby et al., arXiv:1112.5745, 2011; {_GAL}"

    def score(self, predictions: Predictions) -> Tensor:
        """Unc_t - Unc_d, [N] in [0, log C] nats."""
        return measures.mutual_information(predictions.require_samples())


@register("margin")
class Margin(Strategy):
    """The knees whose two most probable grades are closest in probability."""

    posterior = Posterior.POINT
    source = "Scheffer, Decomain and Wrobel, Active Hidden Markov Models for Information Extraction, IDA 2001"

    def score(self, predictions: Predictions) -> Tensor:
        """1 - (p_1 - p_2) for the two largest probabilities, [N] in [0, 1]."""
        return measures.margin(predictions.require_log_probs())


@register("variation_ratio")
class VariationRatio(SamplingStrategy):
    """The knees on whose grade the fewest posterior samples agree."""

    source = f"Freeman, Elementary Applied Statistics, 1965; {_GAL}"

    def score(self, predictions: Predictions) -> Tensor:
        """1 - (votes for the most frequent grade) / K, each sample voting for its most probable grade.

        [N] in [0, 1 - 1/min(K, C)]. Many knees have equal scores; the seed decides between them.
        """
        log_probs = predictions.require_samples()
        votes = F.one_hot(log_probs.argmax(dim=2), log_probs.shape[2]).sum(dim=1)  # [N, C]
        return 1.0 - votes.amax(dim=1) / log_probs.shape[1]


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
