from __future__ import annotations

import numpy as np
import pytest
import torch

from kneeal.acquisition import get
from kneeal.adapters.shapes import predictions_of
from kneeal.errors import UserError


def test_arrays_become_what_the_strategy_needs() -> None:
    probs = np.array([[[0.5, 0.5], [0.1, 0.9]], [[1.0, 0.0], [0.0, 1.0]]])
    samples = predictions_of(get("mi_mcd"), 2, probs, None)
    assert samples.ids == ("0", "1")
    torch.testing.assert_close(samples.require_log_probs().exp(), torch.as_tensor(probs))
    point = predictions_of(get("entropy"), 2, probs, None)
    torch.testing.assert_close(point.require_log_probs().exp()[:, 0], torch.tensor([[0.3, 0.7], [0.5, 0.5]]).double())
    alone = predictions_of(get("kmeans"), 3, None, np.ones((3, 4)))
    assert len(alone) == 3 and alone.log_probs is None
    assert predictions_of(get("random"), 5, None, None).ids == ("0", "1", "2", "3", "4")
    assert predictions_of(get("entropy"), 2, probs[:, 0], np.ones((2, 4))).features is None


def test_what_is_missing_is_said() -> None:
    point = np.full((4, 2), 0.5)
    with pytest.raises(UserError, match="posterior samples"):
        predictions_of(get("mi_mcd"), 4, point, None)
    with pytest.raises(UserError, match="without feature vectors"):
        predictions_of(get("badge"), 4, point, None)
    with pytest.raises(UserError, match="without probabilities"):
        predictions_of(get("entropy"), 4, None, None)
