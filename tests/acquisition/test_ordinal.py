from __future__ import annotations

import statistics

import pytest
import torch
from helpers.pools import pool

from kneeal import acquisition
from kneeal.acquisition import Predictions
from kneeal.errors import UserError


def test_variance_by_its_definition() -> None:
    predictions = pool(10, c=5)
    for name in ("total", "data", "epistemic"):
        expected = []
        for samples in predictions.require_log_probs().exp().tolist():
            means = [sum(c * p for c, p in enumerate(s)) for s in samples]
            variances = [sum((c - m) ** 2 * p for c, p in enumerate(s)) for s, m in zip(samples, means, strict=True)]
            mixture = [sum(s[c] for s in samples) / len(samples) for c in range(5)]
            mean = sum(c * p for c, p in enumerate(mixture))
            parts = {
                "total": sum((c - mean) ** 2 * p for c, p in enumerate(mixture)),
                "data": statistics.fmean(variances),
                "epistemic": statistics.pvariance(means),
            }
            expected.append(parts[name])
        found = acquisition.get("expected_grade_variance", part=name).score(predictions)
        assert found.tolist() == pytest.approx(expected)


def test_absolute_error_by_trying_every_guess() -> None:
    predictions = pool(15, c=5)
    expected = []
    for samples in predictions.require_log_probs().exp().tolist():
        mixture = [sum(s[c] for s in samples) / len(samples) for c in range(5)]
        expected.append(min(sum(p * abs(c - guess) for c, p in enumerate(mixture)) for guess in range(5)))
    assert acquisition.get("expected_absolute_error").score(predictions).tolist() == pytest.approx(expected)


def test_they_tell_a_far_doubt_from_a_near_one_and_entropy_does_not() -> None:
    near, far = [0.5, 0.5, 0.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0, 0.5]
    predictions = Predictions(("near", "far"), torch.tensor([[near] * 2, [far] * 2]).log())
    entropy = acquisition.get("entropy_mcd").score(predictions)
    assert float(entropy[0]) == pytest.approx(float(entropy[1]))
    for name, values in {"expected_grade_variance": (0.25, 4.0), "expected_absolute_error": (0.5, 2.0)}.items():
        assert acquisition.get(name).score(predictions).tolist() == pytest.approx(values)
        assert acquisition.get(name).select(predictions, 1, seed=0) == ("far",)


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(UserError, match="part = 'all'"):
        acquisition.get("expected_grade_variance", part="all")
