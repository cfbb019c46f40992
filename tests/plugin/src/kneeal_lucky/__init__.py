"""A strategy that another package brings."""

from torch import Tensor

from kneeal.acquisition import Posterior, Predictions, Strategy, measures


class Lucky(Strategy):
    """The knees whose entropy is nearest to a lucky number.

    Args:
        number: In nats.
    """

    posterior = Posterior.POINT
    source = "kneeal's own tests"

    def __init__(self, *, number: float = 0.7) -> None:
        self.number = number

    def score(self, predictions: Predictions) -> Tensor:
        return -(measures.entropy(predictions.require_log_probs()) - self.number).abs()
