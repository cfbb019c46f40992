"""A runner that trains nothing: its probabilities are a function of the knee and the round."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from kneeal.acquisition import Needs, Posterior, Predictions
from kneeal.loop.runner import Evaluation
from kneeal.pool import PoolState

POOL = tuple(f"{patient}_{side}" for patient in range(9_000_001, 9_000_031) for side in "LR")
GRADES = {knee: int(hashlib.md5(knee.encode()).hexdigest(), 16) % 5 for knee in POOL}
TEST = tuple(f"{patient}_L" for patient in range(9_100_001, 9_100_005))


class FakeRunner:
    """Counts its calls; `hook(what, round)` can interrupt it."""

    def __init__(self, hook: Callable[[str, int], None] = lambda what, round: None) -> None:
        self.hook = hook
        self.calls: list[tuple[str, int]] = []
        self.states: list[PoolState] = []
        self.previous: list[Path | None] = []
        self.needs: list[Needs] = []

    def _called(self, what: str, round: int) -> None:
        self.calls.append((what, round))
        self.hook(what, round)

    def fit(self, state: PoolState, checkpoint: Path, previous: Path | None) -> Mapping[str, float]:
        self._called("fit", state.round)
        self.states.append(state)
        self.previous.append(previous)
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write_text(str(sorted(state.labeled)))
        return {"balanced_accuracy": 0.2 + len(state.labeled) / 100}

    def test(self, checkpoint: Path, round: int, needs: Needs) -> Evaluation:
        self._called("test", round)
        log_probs = self.log_probs(checkpoint, TEST, 1)[:, 0]
        confusion = [[1 if row == column else 0 for column in range(5)] for row in range(5)]
        metrics = {"balanced_accuracy": 0.3 + round / 10, "mae": 1.0}
        return Evaluation(metrics, confusion, TEST, (0, 1, 2, 3), log_probs.exp(), log_probs.exp().sum(1))

    def predict(self, checkpoint: Path, round: int, ids: Sequence[str], needs: Needs) -> Predictions:
        self._called("predict", round)
        self.needs.append(needs)
        log_probs = None if needs.posterior is Posterior.NONE else self.log_probs(checkpoint, ids, needs.n_samples)
        return Predictions(tuple(ids), log_probs, torch.ones(len(ids), 3) if needs.features else None)

    @staticmethod
    def log_probs(checkpoint: Path, ids: Sequence[str], n_samples: int) -> torch.Tensor:
        trained_on = checkpoint.read_text()
        seeds = [int(hashlib.md5(f"{trained_on}{knee}".encode()).hexdigest()[:8], 16) for knee in ids]
        logits = [torch.randn(n_samples, 5, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(logits).log_softmax(-1)
