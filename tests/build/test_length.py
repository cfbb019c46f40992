"""How long a fit is, and how its learning rate falls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.commands import QUICK, done

from kneeal.training.learner import Learner


def rates(data: Path, run: Path, monkeypatch: pytest.MonkeyPatch, *settings: str) -> list[float]:
    """The learning rate of each step of one fit on six knees."""
    found: list[float] = []

    def record(self: Learner, batch: Any, batch_idx: int) -> None:
        found.append(self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]

    monkeypatch.setattr(Learner, "on_train_batch_start", record)
    options = [text for setting in ("active.budget=6", *settings) for text in ("--set", setting)]
    done("fit", "--strategy", "mi_mcd", "--no-ssl", "--data", data, "--out", run, *QUICK, *options)
    return found


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Three batches in a pass: an epoch is a pass.
        (["training.epochs=4", "training.milestones=[2]"], [1, 1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]),
        # Ten steps over four epochs of 2, 3, 2 and 3.
        (["training.epochs=4", "training.milestones=[2]", "training.steps=10"], [1] * 5 + [0.1] * 5),
        # Fewer steps than epochs: the milestone keeps its place.
        (["training.epochs=500", "training.milestones=[300]", "training.steps=5"], [1, 1, 1, 0.1, 0.1]),
        (
            ["training.epochs=2", "training.steps=4", "training.schedule=cosine"],
            [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2],
        ),
        (["training.epochs=1", "training.schedule=cosine"], [1, 0.75, 0.25]),
    ],
)
def test_the_learning_rate_follows_the_length(
    settings: list[str], expected: list[float], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = rates(data, tmp_path / "run", monkeypatch, "training.batch_size=2", *settings)
    assert found == pytest.approx([1e-3 * rate for rate in expected])
