"""Relatives of BALD: stochastic ones and BatchBALD for whole queries, and EPIG for the knees to be predicted.

The knees with the n highest scores are often similar. Sampling with probabilities that grow with the score gives varied
queries at no extra cost (Kirsch et al., 2023). By the Gumbel trick, sampling n knees without replacement amounts to
taking the n largest values of log-weight + Gumbel noise.

Symbols of BatchBALD, whose knees are jointly most informative about the weights:
    S the knees chosen so far, y_S one configuration of their grades, K posterior samples of the weights w.
    I(y_S, y_x; w) = I(y_S; w) + I(y_x; w | y_S), so the greedy choice is the x with the largest
        gain(x) = H(y_x | y_S) - E_k[H(y_x | w_k)]
        H(y_x | y_S) = sum over y_S of p(y_S) H( sum_k v_k(y_S) p_k(y_x) ),   v_k(y_S) = p_k(y_S) / sum_j p_j(y_S).

The sum runs over all C^|S| configurations while there are few, and over samples from p(y_S) beyond.

Symbols of EPIG:
    x a knee of the pool, x* a target: a knee to be predicted; K posterior samples.
    EPIG(x) = E_{x*} I(y; y* | x, x*), with the joint p(y, y*) = mean_k p_k(y|x) p_k(y*|x*).
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from kneeal.acquisition import measures
from kneeal.acquisition.batch import BatchStrategy, gumbel, lazy_best
from kneeal.acquisition.predictions import Predictions, full_precision
from kneeal.acquisition.registry import register
from kneeal.acquisition.strategy import SamplingStrategy, check_float, check_int, seeded_order
from kneeal.acquisition.uncertainty import MutualInformationMCD


class StochasticBALD(MutualInformationMCD, BatchStrategy):
    """Samples knees without replacement, with weights that grow with their mutual information.

    Args:
        beta: Inverse temperature, above 0. Toward 0 all knees are equally likely; toward infinity the highest scores
            are taken.
        n_samples: Number of posterior samples K, at least 2.
    """

    source = "Kirsch et al., Stochastic Batch Acquisition: A Simple Baseline for Deep Active Learning, TMLR 2023"

    def __init__(self, *, beta: float = 1.0, n_samples: int = 50) -> None:
        super().__init__(n_samples=n_samples)
        self.beta = check_float("beta", beta, 0.0)

    @abstractmethod
    def log_weights(self, scores: Tensor) -> Tensor:
        """Logarithm of the weight of each knee, [N] -> [N] up to a constant; -inf for a weight of 0."""

    def choose(self, pool: Predictions, n: int, labeled: Predictions | None, generator: Generator) -> Sequence[int]:
        """The n largest values of log-weight + Gumbel noise."""
        scores = self.score(pool).detach().cpu().double()
        # Knees of weight 0 come last, in the random order of the pool.
        keys = self.log_weights(scores) + gumbel(len(scores), generator)
        return torch.argsort(keys, descending=True, stable=True)[:n].tolist()


@register("power_bald")
class PowerBALD(StochasticBALD):
    """Knees sampled in proportion to a power of their mutual information."""

    def log_weights(self, scores: Tensor) -> Tensor:
        """Beta log I: knees without information are sampled only once no others are left."""
        return self.beta * scores.log()


@register("softmax_bald")
class SoftmaxBALD(StochasticBALD):
    """Knees sampled in proportion to the exponential of their mutual information."""

    def log_weights(self, scores: Tensor) -> Tensor:
        """Beta I."""
        return self.beta * scores


@register("softrank_bald")
class SoftrankBALD(StochasticBALD):
    """Knees sampled in proportion to a power of their rank by mutual information."""

    def log_weights(self, scores: Tensor) -> Tensor:
        """-beta log rank, rank 1 for the highest score."""
        order = torch.argsort(scores, descending=True, stable=True)
        ranks = torch.empty_like(scores)
        ranks[order] = torch.arange(1, len(scores) + 1, dtype=scores.dtype)
        return -self.beta * ranks.log()


#: Largest number of entries in a block [configurations, knees, grades].
_BLOCK = 2**22


@register("batch_bald")
class BatchBALD(MutualInformationMCD, BatchStrategy):
    """The knees whose grades have the highest joint mutual information with the weights.

    Gains never increase as S grows, so old gains are upper bounds for the lazy greedy choice (Minoux, 1978).

    Args:
        n_configurations: Largest number of configurations, at least 2: enumerated up to it, that many samples beyond.
        n_candidates: Number of knees considered, those with the highest mutual information.
        n_samples: Number of posterior samples K, at least 2.
    """

    source = "Kirsch, van Amersfoort and Gal, BatchBALD, NeurIPS 2019"

    def __init__(self, *, n_configurations: int = 2000, n_candidates: int = 4000, n_samples: int = 50) -> None:
        super().__init__(n_samples=n_samples)
        self.n_configurations = check_int("n_configurations", n_configurations, 2)
        self.n_candidates = check_int("n_candidates", n_candidates)

    def choose(self, pool: Predictions, n: int, labeled: Predictions | None, generator: Generator) -> Sequence[int]:
        """The knee with the largest gain, n times."""
        bounds = self.score(pool).detach().cpu().double()  # mutual information: the gains of the first choice
        candidates = torch.argsort(bounds, descending=True, stable=True)[: max(n, self.n_candidates)]
        bounds = bounds[candidates]
        log_probs = pool.require_log_probs().detach()[candidates].cpu().double()
        expected = measures.expected_entropy(log_probs)
        joint = Configurations(log_probs.shape[1], self.n_configurations, generator)
        chosen: list[int] = []

        def gains(rows: Tensor) -> Tensor:
            found = bounds[rows]
            free = rows[torch.isfinite(found)]
            # A sampled sum can exceed the bound; the bound is exact.
            gain = torch.minimum(joint.conditional_entropy(log_probs[free]) - expected[free], bounds[free])
            return found.masked_scatter(torch.isfinite(found), gain)

        for _ in range(n):
            step = max(1, _BLOCK // (len(joint) * log_probs.shape[2]))
            best = lazy_best(bounds, gains, step) if chosen else int(bounds.argmax())
            chosen.append(best)
            bounds[best] = -torch.inf
            if len(chosen) < n:
                joint.extend(log_probs[best])
        return candidates[chosen].tolist()


class Configurations:
    """Configurations y_S of the grades of the knees chosen so far, with p(y_S) and v_k(y_S).

    Args:
        n_samples: Number of posterior samples K.
        max_configurations: Enumerated up to this number; beyond, this many are sampled.
        generator: Source of all randomness.
    """

    def __init__(self, n_samples: int, max_configurations: int, generator: Generator) -> None:
        self.max_configurations = max_configurations
        self.generator = generator
        self.log_p = torch.zeros(1, n_samples, dtype=torch.float64)  # log p_k(y_S) [S, K]
        self.origin: Tensor | None = None  # sample k that each configuration was drawn from; None if enumerated
        self._chosen: list[Tensor] = []

    def __len__(self) -> int:
        return len(self.log_p)

    def extend(self, knee: Tensor) -> None:
        """Add a knee, log probabilities [K, C], to S."""
        self._chosen.append(knee)
        new = [knee]
        n_samples, n_classes = knee.shape
        if self.origin is None and len(self) * n_classes <= self.max_configurations:
            self.log_p = (self.log_p[:, None, :] + knee.T).reshape(-1, n_samples)
            self.log_p = self.log_p[torch.isfinite(self.log_p).any(dim=1)]  # the others have probability 0
            return
        if self.origin is None:
            # p(y_S) is the mixture of the posterior samples in equal parts; a remainder goes to random ones.
            n_each, rest = divmod(self.max_configurations, n_samples)
            extra = torch.randperm(n_samples, generator=self.generator)[:rest]
            self.origin = torch.cat([torch.arange(n_samples).repeat(n_each), extra])
            self.log_p = torch.zeros(self.max_configurations, n_samples, dtype=torch.float64)
            new = self._chosen
        for log_probs in new:
            drawn = torch.multinomial(log_probs.exp()[self.origin], 1, generator=self.generator)[:, 0]
            self.log_p = self.log_p + log_probs.T[drawn]

    def conditional_entropy(self, log_probs: Tensor) -> Tensor:
        """H(y_x | y_S) in nats for knees [M, K, C] -> [M]."""
        log_marginal = self.log_p.logsumexp(dim=1, keepdim=True)
        v = (self.log_p - log_marginal).exp()  # [S, K], rows sum to 1
        if self.origin is None:
            p = log_marginal.exp()[:, 0] / self.log_p.shape[1]  # sums to 1 over S
        else:
            p = torch.full((len(self),), 1.0 / len(self), dtype=torch.float64)
        probs = log_probs.exp().transpose(0, 1)  # [K, M, C]
        # Single precision suffices for entropies of a mixture and halves the work.
        mixtures = v.float() @ probs.float().flatten(1)  # [S, M C]
        entropies: Tensor = torch.special.entr(mixtures).view(len(self), *probs.shape[1:]).sum(dim=2)
        mean: Tensor = p.float() @ entropies
        return mean.double()


#: Largest number of entries in a block of joint probabilities.
_EPIG_BLOCK = 2**23


@register("epig")
class EPIG(SamplingStrategy):
    """The knees whose grades are most informative about the grades of other knees, rather than about the weights.

    The targets are a random part of the pool, which the ids alone determine.

    Args:
        n_targets: Number of targets.
        n_samples: Number of posterior samples K, at least 2, drawn jointly for all knees.
    """

    pointwise = False  # the targets belong to the pool
    source = "Bickford Smith et al., Prediction-Oriented Bayesian Active Learning, AISTATS 2023"

    def __init__(self, *, n_targets: int = 200, n_samples: int = 50) -> None:
        super().__init__(n_samples=n_samples)
        self.n_targets = check_int("n_targets", n_targets)

    def score(self, predictions: Predictions) -> Tensor:
        """EPIG, [N] in [0, log C] nats."""
        log_probs = predictions.require_samples()
        targets = seeded_order(predictions.ids, 0)[: self.n_targets]
        return expected_predictive_information_gain(log_probs, log_probs[targets])


def expected_predictive_information_gain(log_probs: Tensor, targets: Tensor) -> Tensor:
    """EPIG(x) = H(y) + E_{x*} [ H(y*) - H(y, y*) ].

    Args:
        log_probs: [N, K, C] in nats for the pool.
        targets: [M, K, C] in nats for the targets, from the same posterior samples.

    Returns:
        [N] in [0, log C] nats.
    """
    marginal = measures.entropy(log_probs) + measures.entropy(targets).mean()
    log_probs, targets = full_precision(log_probs), full_precision(targets)
    others = targets.exp().transpose(0, 1).flatten(1) / log_probs.shape[1]  # [K, M C]
    step = max(1, _EPIG_BLOCK // max(1, others.shape[1] * log_probs.shape[2]))
    # Only the mean over x* is needed, so the sum runs over y, y* and x* at once.
    joint = [
        torch.special.entr(part.exp().transpose(1, 2) @ others).sum(dim=(1, 2))  # [n, C, K] @ [K, M C] -> [n]
        for part in torch.split(log_probs, step)
    ]
    gain: Tensor = (marginal - torch.cat(joint) / len(targets)).clamp(min=0.0)
    return gain
