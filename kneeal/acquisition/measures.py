"""Measures of uncertainty: pure functions of predictive probabilities.

Symbols:
    N knees, K posterior samples, C classes; p_k(c|x) the class probabilities of sample k, p(c|x) their mean over k.
    log_probs [N, K, C] holds log p_k(c|x) in nats; every measure returns [N]. H is Shannon's entropy.

References:
    Shannon, "A Mathematical Theory of Communication", Bell System Technical Journal 27, 1948.
    Lewis and Gale, "A Sequential Algorithm for Training Text Classifiers", SIGIR 1994 (least confidence).
    Houlsby et al., "Bayesian Active Learning for Classification and Preference Learning", arXiv:1112.5745, 2011.
    Scheffer, Decomain and Wrobel, "Active Hidden Markov Models for Information Extraction", IDA 2001 (margin).
    Gal, Islam and Ghahramani, "Deep Bayesian Active Learning with Image Data", ICML 2017.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from kneeal.acquisition.predictions import check_log_probs, full_precision

#: Knees computed together; bounds the memory beyond the input.
_CHUNK = 16384
#: How far rounding may put a value outside its range, in nats.
_SLACK = 1e-3


def mean_log_probs(log_probs: Tensor) -> Tensor:
    """Log of the mean over the posterior samples, log p(c|x): [N, K, C] -> [N, C] in nats."""
    check_log_probs(log_probs)
    return _mean(full_precision(log_probs))


def entropy(log_probs: Tensor) -> Tensor:
    """Total uncertainty Unc_t = H(mean_k p_k) = - sum_c p(c|x) log p(c|x), [N] in [0, log C] nats."""
    return _by_chunk(_entropy, log_probs, math.log(log_probs.shape[-1]))


def expected_entropy(log_probs: Tensor) -> Tensor:
    """Data uncertainty Unc_d = mean_k H(p_k), [N] in [0, log C] nats."""
    return _by_chunk(_expected_entropy, log_probs, math.log(log_probs.shape[-1]))


def mutual_information(log_probs: Tensor) -> Tensor:
    """Epistemic uncertainty I = Unc_t - Unc_d, [N] in [0, log C] nats (Houlsby et al., 2011: BALD).

    Clamped at 0, since the difference of two rounded entropies can be negative.
    """
    return _by_chunk(lambda x: _entropy(x) - _expected_entropy(x), log_probs, math.log(log_probs.shape[-1]))


def least_confidence(log_probs: Tensor) -> Tensor:
    """1 - max_c p(c|x), [N] in [0, 1 - 1/C]."""
    return _by_chunk(lambda x: -torch.expm1(_mean(x).amax(dim=-1)), log_probs, 1 - 1 / log_probs.shape[-1])


def margin(log_probs: Tensor) -> Tensor:
    """1 - (p_1 - p_2) for the two largest p(c|x), [N] in [0, 1]; 0 for a single class."""
    return _by_chunk(_margin, log_probs, 1.0)


def _mean(x: Tensor) -> Tensor:  # [n, K, C] -> [n, C]
    return torch.logsumexp(x, dim=1) - math.log(x.shape[1])


def _entropy(x: Tensor) -> Tensor:  # [n, K, C] -> [n]
    terms: Tensor = torch.special.entr(_mean(x).exp())
    return terms.sum(dim=-1)


def _expected_entropy(x: Tensor) -> Tensor:  # [n, K, C] -> [n]
    terms: Tensor = torch.special.entr(x.exp())
    return terms.sum(dim=-1).mean(dim=-1)


def _margin(x: Tensor) -> Tensor:  # [n, K, C] -> [n]
    # The padding is a second class where there is only one.
    first, second = F.pad(_mean(x).exp(), (0, 1)).topk(2, dim=-1).values.unbind(dim=-1)
    return 1.0 - (first - second)


def _by_chunk(measure: Callable[[Tensor], Tensor], log_probs: Tensor, largest: float) -> Tensor:
    check_log_probs(log_probs)
    parts = [measure(full_precision(part)) for part in torch.split(log_probs, _CHUNK)]
    values = torch.cat(parts) if parts else log_probs.new_zeros(0)
    if len(values) and not bool(((values >= -_SLACK) & (values <= largest + _SLACK)).all()):
        raise ValueError(f"a measure is outside [0, {largest:.4g}]; the probabilities are invalid.")
    return values.clamp(0.0, largest)
