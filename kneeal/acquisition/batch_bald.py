"""BatchBALD: the knees that together tell most about the weights.

Symbols:
    S the knees chosen so far, y_S one configuration of their grades, K posterior samples of the weights w.
    I(y_S, y_x; w) = I(y_S; w) + I(y_x; w | y_S), so greedy choice adds the x of the largest
        gain(x) = H(y_x | y_S) - E_k[H(y_x | w_k)]
        H(y_x | y_S) = sum over y_S of p(y_S) H( sum_k v_k(y_S) p_k(y_x) ),   v_k(y_S) = p_k(y_S) / sum_j p_j(y_S).

The sum over all C^|S| configurations is exact while there are few; beyond, configurations are drawn from p(y_S).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kneeal.acquisition import measures
from kneeal.acquisition.batch import BatchStrategy
from kneeal.acquisition.options import whole
from kneeal.acquisition.predictions import Predictions
from kneeal.acquisition.registry import register
from kneeal.acquisition.strategy import SamplingStrategy

#: Entries of the block [configurations, knees, grades] that is held at a time.
_BLOCK = 2**22


@register("batch_bald")
class BatchBALD(SamplingStrategy, BatchStrategy):
    """The knees whose grades together have the highest mutual information with the weights.

    A gain never grows while S does, so an old gain bounds the new one from above, and only the knees whose bound
    exceeds the best gain found are computed again (lazy greedy, Minoux, 1978). With exact sums that changes nothing.

    Args:
        n_configurations: Most configurations of grades, at least 2: exact sums up to it, that many draws beyond.
        n_candidates: Only so many knees, those of the highest mutual information, are considered.
        n_samples: Posterior samples K, at least 2.
    """

    source = "Kirsch, van Amersfoort and Gal, BatchBALD, NeurIPS 2019"

    def __init__(self, *, n_configurations: int = 2000, n_candidates: int = 4000, n_samples: int = 50) -> None:
        super().__init__(n_samples=n_samples)
        self.n_configurations = whole("n_configurations", n_configurations, 2)
        self.n_candidates = whole("n_candidates", n_candidates)

    def score(self, predictions: Predictions) -> Tensor:
        """Mutual information of a knee by itself, [N] in [0, log C] nats: the gain of the first choice."""
        return measures.mutual_information(predictions.given())

    def choose(
        self, predictions: Predictions, n: int, *, labeled: Predictions | None, generator: torch.Generator
    ) -> Sequence[int]:
        """Greedily, the largest gain first."""
        bounds = self.score(predictions).detach().cpu().double()
        candidates = torch.argsort(bounds, descending=True, stable=True)[: max(n, self.n_candidates)]
        bounds = bounds[candidates]
        log_probs = predictions.given().detach()[candidates].cpu().double()
        expected = measures.expected_entropy(log_probs)
        joint = Configurations(log_probs.shape[1], self.n_configurations, generator)
        chosen: list[int] = []
        for _ in range(n):
            best = _lazy_best(bounds, joint, log_probs, expected) if chosen else int(bounds.argmax())
            chosen.append(best)
            bounds[best] = -torch.inf
            if len(chosen) < n:
                joint.extend(log_probs[best])
        return candidates[chosen].tolist()


def _lazy_best(bounds: Tensor, joint: Configurations, log_probs: Tensor, expected: Tensor) -> int:
    """The knee of the largest gain; `bounds` [M] is brought up to date where it was looked at."""
    step = max(1, _BLOCK // (len(joint) * log_probs.shape[2]))
    order = torch.argsort(bounds, descending=True, stable=True)
    best, gain = int(order[0]), -torch.inf
    for start in range(0, len(order), step):
        rows = order[start : start + step]
        if float(bounds[rows[0]]) <= gain:
            break
        # A sampled sum can come out above the bound; the bound is right.
        rows = rows[torch.isfinite(bounds[rows])]
        gains = torch.minimum(joint.conditional_entropy(log_probs[rows]) - expected[rows], bounds[rows])
        bounds[rows] = gains
        top = int(gains.argmax()) if len(rows) else 0
        if len(rows) and float(gains[top]) > gain:
            best, gain = int(rows[top]), float(gains[top])
    return best


class Configurations:
    """Configurations y_S of the grades of the knees chosen so far, with p(y_S) and v_k(y_S).

    Args:
        n_samples: Posterior samples K.
        most: Configurations that are enumerated; more are drawn instead, `most` of them.
        generator: Of the draws.
    """

    def __init__(self, n_samples: int, most: int, generator: torch.Generator) -> None:
        self.most = most
        self.generator = generator
        self.log_p = torch.zeros(1, n_samples, dtype=torch.float64)  # log p_k(y_S) [S, K]
        self.origin: Tensor | None = None  # of each draw, the sample k that it was drawn from; None if enumerated
        self._chosen: list[Tensor] = []

    def __len__(self) -> int:
        """Number of configurations."""
        return len(self.log_p)

    def extend(self, knee: Tensor) -> None:
        """Add a knee, log probabilities [K, C], to S."""
        self._chosen.append(knee)
        n_samples, n_classes = knee.shape
        if self.origin is None and len(self) * n_classes <= self.most:
            self.log_p = (self.log_p[:, None, :] + knee.T).reshape(-1, n_samples)
            self.log_p = self.log_p[torch.isfinite(self.log_p).any(dim=1)]  # the others cannot occur
            return
        if self.origin is None:
            # As many draws from each posterior sample: p(y_S) is their mixture in equal parts.
            self.origin = torch.arange(self.most) % n_samples
            self.log_p = torch.zeros(self.most, n_samples, dtype=torch.float64)
            new = self._chosen
        else:
            new = [knee]
        for log_probs in new:
            drawn = torch.multinomial(log_probs.exp()[self.origin], 1, generator=self.generator)[:, 0]
            self.log_p = self.log_p + log_probs.T[drawn]

    def conditional_entropy(self, log_probs: Tensor) -> Tensor:
        """H(y_x | y_S) in nats of knees [M, K, C] -> [M]."""
        log_marginal = self.log_p.logsumexp(dim=1, keepdim=True)
        v = (self.log_p - log_marginal).exp()  # [S, K], rows sum to 1
        if self.origin is None:
            p = log_marginal.exp()[:, 0] / self.log_p.shape[1]  # sums to 1 over S
        else:
            p = torch.full((len(self),), 1.0 / len(self), dtype=torch.float64)
        probs = log_probs.exp().transpose(0, 1)  # [K, M, C]
        # Single precision is enough for entropies of a mixture, and half the work.
        mixtures = v.float() @ probs.float().flatten(1)  # [S, M C]
        entropies: Tensor = torch.special.entr(mixtures).view(len(self), *probs.shape[1:]).sum(dim=2)
        mean: Tensor = p.float() @ entropies
        return mean.double()
