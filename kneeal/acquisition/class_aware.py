"""Strategies against imbalance: rare grades are few in the pool, and uncertainty alone does not look for them.

Symbols:
    p(c|x) the mean of the posterior samples, n_c the labeled knees of grade c, C grades.
    w_c = C (1 / (n_c + 1)) / sum_j 1 / (n_j + 1), the inverse frequency of grade c, with mean 1 over the grades.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from kneeal.acquisition import measures
from kneeal.acquisition.batch import BatchStrategy, gumbel
from kneeal.acquisition.predictions import Posterior, Predictions
from kneeal.acquisition.registry import register
from kneeal.acquisition.strategy import Strategy, check_choice, check_float

_MEASURES = {f.__name__: f for f in (measures.entropy, measures.least_confidence, measures.margin)}


@register("class_balanced")
class ClassBalanced(BatchStrategy):
    """The most uncertain knees of each predicted grade, in numbers that even out the labeled grades.

    Each knee of the query comes from the grade with the fewest labels so far, counting those of the query by their
    predicted grade. The source divides the query equally between the classes; here the labels decide, so that a grade
    that has enough gives way to one that has not.

    Args:
        measure: Uncertainty inside a grade: "entropy", "least_confidence" or "margin".
        beta: Noise on the logarithm of the uncertainty, as in `power_bald`: knees of a grade are sampled in proportion
            to uncertainty^beta. None takes the most uncertain ones. The source begins at 1 and raises it over the run.
    """

    posterior = Posterior.POINT
    needs_label_counts = True
    source = "Lüth et al., Finally Outshining the Random Baseline (ClaSP PE), arXiv:2601.13677, 2026"

    def __init__(self, *, measure: str = "margin", beta: float | None = None) -> None:
        self.measure = check_choice("measure", measure, _MEASURES)
        self.beta = None if beta is None else check_float("beta", beta, 0.0)

    def score(self, predictions: Predictions) -> Tensor:
        """The uncertainty, [N] >= 0."""
        return _MEASURES[self.measure](predictions.require_log_probs())

    def choose(self, pool: Predictions, n: int, labeled: Predictions | None, generator: Generator) -> Sequence[int]:
        """From the grade with the fewest labels, n times."""
        scores = self.score(pool).detach().cpu().double()
        if self.beta is not None:  # the Gumbel trick
            scores = self.beta * scores.log() + gumbel(len(scores), generator)
        ranked = torch.argsort(scores, descending=True, stable=True)
        grade = measures.mean_log_probs(pool.require_log_probs()).argmax(dim=1).cpu()[ranked]
        counts = pool.require_label_counts()
        # The k-th knee of a grade is its (n_c + k)-th label; ties between grades are broken at random.
        before = F.one_hot(grade, len(counts)).cumsum(dim=0).gather(1, grade[:, None])[:, 0] - 1
        level = counts[grade] + before
        tie = torch.rand(len(counts), generator=generator, dtype=torch.float64)
        return ranked[torch.argsort(level + tie[grade], stable=True)[:n]].tolist()


@register("inverse_frequency")
class InverseFrequency(Strategy):
    """The knees with the highest expected loss, each grade weighted by the inverse of its frequency among the labels.

    With equally frequent grades, this is the entropy. The 1 that w_c adds to every count keeps the weight of a grade
    without labels finite.

    Args:
        gain: "loss", the expected weighted log loss, or "rarity", the expected weight alone.
    """

    posterior = Posterior.POINT
    needs_label_counts = True
    scores_uncertainty = False  # a low score may also mean a frequent grade
    source = "kneeal; weighted entropy as in Guiasu, Reports on Mathematical Physics 2, 1971"

    def __init__(self, *, gain: str = "loss") -> None:
        self.gain = check_choice("gain", gain, ("loss", "rarity"))

    def score(self, predictions: Predictions) -> Tensor:
        """Sum over c of w_c p(c|x) (-log p(c|x)), [N] in nats, or of w_c p(c|x), [N]; both at least 0."""
        probs = measures.mean_log_probs(predictions.require_log_probs()).exp()
        inverse = 1.0 / (predictions.require_label_counts() + 1.0)
        weights = (len(inverse) * inverse / inverse.sum()).to(probs)
        return (torch.special.entr(probs) if self.gain == "loss" else probs) @ weights
