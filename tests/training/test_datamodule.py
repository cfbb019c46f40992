from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kneeal.data.batches import PatchSource
from kneeal.data.store import PatchStore
from kneeal.data.views import Views
from kneeal.training.datamodule import KneeDataModule

IDS = tuple(f"p{k}_L" for k in range(20))
PATCHES = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((20, 2, 32, 32), np.uint8) * 10
STORE = PatchStore(PATCHES, {knee: row for row, knee in enumerate(IDS)}, 16)
SOURCE = PatchSource(STORE, Views(16, rotation=0.0, pad=0.0, gamma_p=0.0, noise_p=0.0))
LABELED = {IDS[3]: 4, IDS[7]: 0, IDS[1]: 2}


def module(pseudo: Sequence[str] = IDS[8:11], n_views: int = 2) -> KneeDataModule:
    val = {IDS[0]: 1, IDS[2]: 3}
    return KneeDataModule(
        SOURCE, batch_size=2, eval_batch_size=4, labeled=LABELED, pseudo=pseudo, val=val, n_views=n_views
    )


def knee_number(patches: torch.Tensor) -> list[int]:
    return ((patches.flatten(1).mean(1) + 1) * 255 / 2 / 10).round().int().tolist()


def test_labeled_batches_hold_the_given_labels() -> None:
    batches = list(module().train_dataloader()["labeled"])
    assert [batch["views"].shape for batch in batches] == [(2, 2, 2, 16, 16), (1, 2, 2, 16, 16)]
    seen = {n: kl for b in batches for n, kl in zip(knee_number(b["views"][:, 0]), b["kl"].tolist(), strict=True)}
    assert seen == {3: 4, 7: 0, 1: 2}


def test_the_pseudo_pool_comes_in_two_views_and_without_any_label() -> None:
    batches = list(module().train_dataloader()["pseudo"])
    assert all(set(batch) == {"views"} for batch in batches)
    assert sorted(n for b in batches for n in knee_number(b["views"][:, 1])) == [8, 9, 10]


def test_one_view_without_a_pseudo_pool() -> None:
    loaders = module(pseudo=(), n_views=1).train_dataloader()
    assert set(loaders) == {"labeled"}
    assert next(iter(loaders["labeled"]))["views"].shape[1] == 1


def test_validation_knees_bring_their_grades_in_order() -> None:
    (batch,) = module().val_dataloader()
    assert knee_number(batch["patches"]) == [0, 2]
    assert batch["kl"].tolist() == [1, 3]


def test_given_knees_are_predicted_in_their_order_without_grades() -> None:
    batches = list(KneeDataModule(SOURCE, eval_batch_size=2, predict=IDS[5:2:-1]).predict_dataloader())
    assert [n for batch in batches for n in knee_number(batch["patches"])] == [5, 4, 3]
    assert [n for batch in batches for n in batch["position"].tolist()] == [0, 1, 2]
    assert all(set(batch) == {"patches", "position"} for batch in batches)


def on_device(rank: int, world_size: int, epoch: int = 0) -> SimpleNamespace:
    """What a data module asks of a trainer."""
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    return SimpleNamespace(current_epoch=epoch, global_rank=rank, world_size=world_size, strategy=strategy)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [0, 1, 4, 17])
def test_devices_predict_every_knee_exactly_once(n: int, world_size: int) -> None:
    positions = []
    for rank in range(world_size):
        data = KneeDataModule(SOURCE, eval_batch_size=3, predict=IDS[:n])
        data.trainer = on_device(rank, world_size)  # type: ignore[assignment]
        positions += [p for batch in data.predict_dataloader() for p in batch["position"].tolist()]
    assert sorted(positions) == list(range(n))


def test_steps_are_spread_over_the_epochs() -> None:
    data = module()
    data.epochs, data.steps = 3, 7
    seen = []
    for epoch in range(3):
        data.trainer = on_device(0, 1, epoch)  # type: ignore[assignment]
        loaders = data.train_dataloader()
        assert len(loaders["labeled"]) == len(loaders["pseudo"]) == [2, 2, 3][epoch]
        seen.append([n for batch in loaders["labeled"] for n in knee_number(batch["views"][:, 0])])
    # Passes of two batches, with 2 and 1 of the 3 knees, go on over the end of an epoch.
    assert [sorted(part) for part in (seen[0], seen[1], seen[2][:3])] == [[1, 3, 7]] * 3
    assert len(seen[2]) == 5
