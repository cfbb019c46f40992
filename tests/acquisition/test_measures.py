from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kneeal.acquisition import measures

UNIFORM = torch.full((1, 3, 5), 0.2).log()
EVERY = [measures.entropy, measures.expected_entropy, measures.mutual_information, measures.least_confidence]


def samples(*probs: list[float]) -> torch.Tensor:
    """One knee, K samples."""
    return torch.tensor([probs], dtype=torch.float64).log()


def test_closed_forms() -> None:
    assert float(measures.entropy(UNIFORM)) == pytest.approx(math.log(5))
    assert float(measures.expected_entropy(UNIFORM)) == pytest.approx(math.log(5))
    assert float(measures.mutual_information(UNIFORM)) == pytest.approx(0.0, abs=1e-6)
    assert float(measures.least_confidence(UNIFORM)) == pytest.approx(0.8)
    # Two samples that are sure of different grades: all uncertainty is epistemic.
    torn = samples([1.0, 0.0], [0.0, 1.0])
    assert float(measures.mutual_information(torn)) == pytest.approx(math.log(2))
    assert float(measures.expected_entropy(torn)) == 0.0
    # Two samples, by hand.
    x = samples([0.9, 0.1], [0.5, 0.5])

    def h(*p: float) -> float:
        return -sum(q * math.log(q) for q in p)

    assert float(measures.entropy(x)) == pytest.approx(h(0.7, 0.3))
    assert float(measures.expected_entropy(x)) == pytest.approx((h(0.9, 0.1) + math.log(2)) / 2)
    assert float(measures.mutual_information(x)) == pytest.approx(h(0.7, 0.3) - (h(0.9, 0.1) + math.log(2)) / 2)
    assert float(measures.least_confidence(x)) == pytest.approx(0.3)


def test_an_impossible_grade_adds_nothing() -> None:
    certain = samples([1.0, 0.0, 0.0])
    for measure in EVERY:
        assert float(measure(certain)) == 0.0


def test_equal_samples_hold_no_information_however_they_round() -> None:
    torch.manual_seed(0)
    log_probs = torch.randn(2000, 1, 5).mul(4).log_softmax(-1).expand(-1, 50, -1)
    values = measures.mutual_information(log_probs)
    assert float(values.min()) >= 0.0
    assert float(values.max()) < 1e-5


log_probs_strategy = st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(2, 5), st.integers(0, 10_000)).map(
    lambda t: (
        torch.randn(*t[:3], generator=torch.Generator().manual_seed(t[3]), dtype=torch.float64).mul(3).log_softmax(-1)
    )
)


@settings(max_examples=40)
@given(log_probs_strategy)
def test_invariants(x: torch.Tensor) -> None:
    total, data, epistemic = (m(x) for m in (measures.entropy, measures.expected_entropy, measures.mutual_information))
    torch.testing.assert_close(total, data + epistemic, atol=1e-9, rtol=0)
    n_classes = x.shape[-1]
    assert bool((total <= math.log(n_classes) + 1e-9).all())
    assert bool((measures.least_confidence(x) <= 1 - 1 / n_classes + 1e-9).all())
    shuffled = x[:, torch.randperm(x.shape[1])][..., torch.randperm(n_classes)]
    for measure in EVERY:
        torch.testing.assert_close(measure(shuffled), measure(x), atol=1e-9, rtol=0)
    torch.testing.assert_close(measures.mean_log_probs(x).exp(), x.exp().mean(1))


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(23, 4, 5).log_softmax(-1)
    whole = [measure(x) for measure in EVERY]
    monkeypatch.setattr(measures, "_CHUNK", 5)
    for before, measure in zip(whole, EVERY, strict=True):
        assert torch.equal(before, measure(x))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(2, 3), r"\[N, K, C\]"),
        (torch.zeros(2, 0, 3), "K, C >= 1"),
        (torch.zeros(2, 2, 3), "normalized"),
        (torch.full((1, 2, 3), math.nan), "normalized"),
        (torch.zeros(2, 2, 3, dtype=torch.int64), "floating-point"),
    ],
)
def test_what_is_no_distribution_is_refused(bad: torch.Tensor, message: str) -> None:
    for measure in EVERY:
        with pytest.raises(ValueError, match=message):
            measure(bad)


def test_an_empty_pool_has_no_scores() -> None:
    for measure in EVERY:
        assert measure(torch.zeros(0, 3, 5)).shape == (0,)
