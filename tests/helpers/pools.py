"""Small pools for the tests of strategies."""

from __future__ import annotations

import torch

from kneeal.acquisition import Predictions


def pool(
    n: int, *, k: int = 6, c: int = 3, f: int = 4, seed: int = 0, sharp: float = 2.0, prefix: str = "knee"
) -> Predictions:
    """n knees with k posterior samples of c grades, f features and unequal label counts, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    logits = sharp * torch.randn(n, k, c, generator=generator, dtype=torch.float64)
    features = torch.randn(n, f, generator=generator, dtype=torch.float64)
    ids = tuple(f"{prefix}{i:03d}" for i in range(n))
    return Predictions(ids, logits.log_softmax(-1), features, torch.arange(c))


def rows(predictions: Predictions, ids: tuple[str, ...]) -> list[int]:
    """Positions of ids."""
    return [predictions.ids.index(i) for i in ids]
