"""The evaluation of a network on graded knees."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from kneeal.acquisition import Needs, Posterior, Predictions, measures
from kneeal.loop.runner import Evaluation
from kneeal.stats.metrics import METRICS, GradedKnees


def evaluate(log_probs: Tensor, kl: Tensor) -> tuple[dict[str, float], list[list[int]]]:
    """Every metric of a set of graded knees.

    Args:
        log_probs: [N, C] predictive log-probabilities in nats.
        kl: [N] true KL grades.

    Returns:
        `kneeal.stats.metrics.METRICS` by name, and the confusion matrix [C, C] (row = true grade).
    """
    knees = GradedKnees(log_probs.detach().double().cpu().numpy(), kl.detach().long().cpu().numpy())
    return {name: metric.compute(knees) for name, metric in METRICS.items()}, knees.confusion.tolist()


def evaluate_test(
    predict: Callable[[tuple[str, ...], Needs], Predictions], test: Mapping[str, int], needs: Needs
) -> Evaluation:
    """Metrics of the point estimate; uncertainty of the samples if the strategy uses samples."""
    ids, kl = tuple(test), tuple(test.values())
    point = samples = predict(ids, Needs(Posterior.POINT)).require_log_probs()
    if needs.posterior is Posterior.SAMPLES:
        samples = predict(ids, replace(needs, features=False)).require_log_probs()
    metrics, confusion = evaluate(point[:, 0], torch.tensor(kl))
    return Evaluation(metrics, confusion, ids, kl, point[:, 0].exp(), measures.entropy(samples))
