from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import QUICK, done, kneeal, refused
from torch import Tensor, nn

from kneeal.data.source import PatchSource
from kneeal.data.views import Views
from kneeal.errors import UserError
from kneeal.nn.network import SiameseKneeNet
from kneeal.training.pretrain import OBJECTIVES, make_objective, pretrain, write_weights

IDS = tuple(f"{k}_L" for k in range(17))
SMALL = ["--set", "data.patch_size=8", "--set", "model.width=1", "--accelerator", "cpu"]


class Agree(nn.Module):
    """A loss without parameters: how far two views' features are apart."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return (first - second).square().mean()


def source() -> PatchSource:
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 255, (len(IDS), 2, 16, 16), dtype=np.uint8)
    return PatchSource(pairs, {i: k for k, i in enumerate(IDS)}, Views(16))


def trained(objective: nn.Module, seed: int = 0, **options: object) -> tuple[SiameseKneeNet, list[float]]:
    torch.manual_seed(0)
    network = SiameseKneeNet(width=2, dropout=0.0, classifier_dropout=0.0)
    options = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-2, **options}
    losses = pretrain(network, objective, source(), IDS, seed=seed, **options)  # type: ignore[arg-type]
    return network, losses


def test_views_come_to_agree_and_the_training_repeats() -> None:
    # The 17th knee would be a batch of its own.
    network, losses = trained(Agree(), epochs=6)
    assert len(losses) == 6 and losses[-1] < losses[0]
    again, same = trained(Agree(), epochs=6)
    assert same == losses
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    assert trained(Agree(), seed=1, epochs=6)[1] != losses


def test_too_few_knees_are_refused() -> None:
    with pytest.raises(UserError, match="batches of 1"):
        trained(Agree(), batch_size=1)


def test_a_training_that_diverges_is_refused() -> None:
    with pytest.raises(UserError, match=r"a loss of (nan|inf) in epoch \d"):
        trained(Agree(), learning_rate=1e30)


def test_a_file_is_never_written_over(tmp_path: Path) -> None:
    out = tmp_path / "start.ckpt"
    write_weights(SiameseKneeNet(width=1), out)
    before = out.read_bytes()
    with pytest.raises(UserError, match="already exists"):
        write_weights(SiameseKneeNet(width=1), out)
    assert out.read_bytes() == before and list(tmp_path.iterdir()) == [out]


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no pretraining method called 'dino'"):
        make_objective("dino", 8)
    monkeypatch.setitem(sys.modules, "lightly", None)
    with pytest.raises(UserError, match=r"pip install '\.\[pretrain\]'"):
        make_objective("simsiam", 8)


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_the_objectives_of_lightly_train_the_branch(name: str) -> None:
    pytest.importorskip("lightly", reason="lightly is not installed")
    torch.manual_seed(0)
    before = SiameseKneeNet(width=2).branch.state_dict()
    objective = make_objective(name, 32)
    network, losses = trained(objective, epochs=8)
    assert losses[-1] < losses[0]
    assert any(not torch.equal(before[n], w) for n, w in network.branch.state_dict().items())


def test_fit_and_the_first_query_take_the_weights(tmp_path: Path) -> None:
    pytest.importorskip("lightly", reason="lightly is not installed")
    data, start = tmp_path / "knees", tmp_path / "start.ckpt"
    done("demo-data", "--out", data, "--knees", "120")
    done("pretrain", "--data", data, "--out", start, "--epochs", "1", *SMALL)
    refused(kneeal("pretrain", "--data", data, "--out", start, "--epochs", "1", *SMALL), "already exists")
    options = ["--set", "active.options={}", "--set", "active.first_query=kmeans", "--init", start]
    done("fit", "--strategy", "entropy", "--data", data, "--out", tmp_path / "run", *QUICK, *options)
    assert (tmp_path / "run/rounds/002/metrics.json").is_file()
