"""The metrics of one evaluation, from tensors."""

from torch import Tensor

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
