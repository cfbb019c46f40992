from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from kneeal.training.callbacks import BestEpoch
from kneeal.training.learner import ACCURACY, LOSS


@pytest.mark.parametrize(
    ("epochs", "kept"),
    [
        ([(0.2, 1.6), (0.3, 1.7), (0.25, 1.0)], 1),  # the accuracy decides first
        ([(0.2, 1.6), (0.2, 1.5), (0.2, 1.55)], 1),  # then the loss
        ([(0.2, 1.6), (0.2, 1.6), (0.1, 1.0)], 1),  # then the later epoch
        ([(0.2, math.nan), (0.2, 1.6), (0.2, math.nan)], 1),
        ([(0.2, math.nan), (0.2, math.nan)], 1),
    ],
)
def test_the_best_epoch_is_kept(epochs: list[tuple[float, float]], kept: int, tmp_path: Path) -> None:
    best = BestEpoch(tmp_path / "best.ckpt")
    saved: list[int] = []
    for epoch, (accuracy, loss) in enumerate(epochs):
        trainer = SimpleNamespace(
            callback_metrics={ACCURACY: accuracy, LOSS: loss},
            save_checkpoint=lambda path, weights_only, epoch=epoch: saved.append(epoch),
        )
        best.on_validation_end(trainer, None)  # type: ignore[arg-type]
    assert saved[-1] == kept
    assert best.accuracy == epochs[kept][0]
