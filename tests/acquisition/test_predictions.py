from __future__ import annotations

import itertools
import warnings
from dataclasses import replace

import pytest
import torch
from helpers.pools import pool

from kneeal import acquisition
from kneeal.acquisition import Needs, Posterior, Predictions, measures

POINT, FIFTY = Needs(Posterior.POINT, features=True), Needs(Posterior.SAMPLES, 50)
NOTHING, COUNTS = Needs(Posterior.NONE), Needs(Posterior.POINT, label_counts=True)


def test_joined_needs_serve_both() -> None:
    assert POINT.joined(FIFTY) == Needs(Posterior.SAMPLES, 50, features=True)
    assert NOTHING.joined(COUNTS) == COUNTS
    assert COUNTS.joined(POINT) == Needs(Posterior.POINT, features=True, label_counts=True)
    for a, b in itertools.product((POINT, FIFTY, NOTHING, COUNTS), repeat=2):
        assert a.joined(b) == b.joined(a)


def test_one_prediction_serves_both_only_with_one_posterior() -> None:
    assert POINT.merged(FIFTY) is None
    assert FIFTY.merged(Needs(Posterior.SAMPLES, 20)) is None
    assert NOTHING.merged(POINT) == POINT
    assert POINT.merged(COUNTS) == Needs(Posterior.POINT, features=True, label_counts=True)


def test_plain_arrays_and_lists_are_predictions_too() -> None:
    knees = pool(20)
    log_probs, features = knees.require_log_probs(), knees.require_features()
    plain = Predictions(knees.ids, log_probs.numpy(), features.tolist(), label_counts=[3, 2, 0])  # type: ignore[arg-type]
    tensors = Predictions(knees.ids, log_probs, features, torch.tensor([3, 2, 0]))
    for name in ("mi_mcd", "coreset", "class_balanced"):
        assert acquisition.get(name).select(plain, 4, seed=0) == acquisition.get(name).select(tensors, 4, seed=0)


def test_labeled_knees_with_other_features_are_refused() -> None:
    labeled = Predictions(("a", "b"), None, torch.zeros(2, 3))
    with pytest.raises(ValueError, match="labeled knees have 3 features"):
        acquisition.get("coreset").select(pool(20), 4, seed=0, labeled=labeled)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n_classes", [2, 5, 200])
def test_half_precision_is_accepted_and_comes_near(dtype: torch.dtype, n_classes: int) -> None:
    logits = 3 * torch.randn(500, 8, n_classes, generator=torch.Generator().manual_seed(0))
    exact = logits.log_softmax(-1)
    ids = tuple(map(str, range(500)))
    half = Predictions(ids, exact.to(dtype))
    torch.testing.assert_close(half.require_log_probs().exp().sum(-1), torch.ones(500, 8))
    for measure in (
        measures.entropy,
        measures.expected_entropy,
        measures.mutual_information,
        measures.least_confidence,
    ):
        torch.testing.assert_close(measure(exact.to(dtype)), measure(exact), atol=0.03, rtol=0)


def test_half_precision_that_is_not_normalized_is_still_refused() -> None:
    log_probs = torch.tensor([[[0.5, 0.4]]]).log().to(torch.bfloat16)
    with pytest.raises(ValueError, match="normalized"):
        Predictions(("a",), log_probs)


DISAGREEMENT = ["mi_mcd", "bald", "power_bald", "batch_bald", "epig", "variation_ratio", "drop_query"]


@pytest.mark.parametrize("name", DISAGREEMENT)
@pytest.mark.parametrize(("k", "message"), [(1, "one posterior sample"), (4, "equal posterior samples")])
def test_disagreement_of_equal_samples_warns(name: str, k: int, message: str) -> None:
    knees = pool(20)
    equal = replace(knees, log_probs=knees.require_log_probs()[:, :1].repeat(1, k, 1))
    with pytest.warns(UserWarning, match=message):
        acquisition.get(name).select(equal, 3, seed=0)


@pytest.mark.parametrize("name", [*DISAGREEMENT, "entropy_mcd"])
def test_samples_that_differ_do_not_warn(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        acquisition.get(name).select(pool(20), 3, seed=0)


def test_label_counts_fit_the_grades_and_go_along() -> None:
    knees = replace(pool(6), label_counts=torch.tensor([1, 0, 2]))
    assert knees.take([3, 1]).require_label_counts().tolist() == [1.0, 0.0, 2.0]
    for wrong in ([1, 2], [[1, 0, 2]], [1, -1, 2]):
        with pytest.raises(ValueError, match=r"label_counts must be \[C\]"):
            replace(knees, label_counts=torch.tensor(wrong))
