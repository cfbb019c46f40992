"""The evaluation of a checkpoint on the test set, for any posterior."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from kneeal.acquisition import Needs, Posterior, Predictions, measures
from kneeal.loop.runner import Evaluation
from kneeal.training.metrics import evaluate


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
