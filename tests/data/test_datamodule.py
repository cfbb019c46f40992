from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kneeal.data.batches import PatchSource
from kneeal.data.datamodule import EvaluationKnees, KneeDataModule, LoaderOptions
from kneeal.data.device_views import DeviceViews
from kneeal.data.store import PatchStore, StoredPatches
from kneeal.data.views import Views

IDS = tuple(f"p{k}_L" for k in range(20))
PATCHES = StoredPatches(
    np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((20, 2, 32, 32), np.uint8) * 10,
    {knee: row for row, knee in enumerate(IDS)},
)
LABELED = {IDS[3]: 4, IDS[7]: 0, IDS[1]: 2}


def module(kind: type = Views, pseudo: Sequence[str] = IDS[8:11], n_views: int = 2) -> KneeDataModule:
    views = kind(16, rotation=0.0, pad=0.0, gamma_p=0.0, noise_p=0.0)
    options = LoaderOptions(patch_size=16, batch_size=2, eval_batch_size=4)
    knees = (PATCHES, views) if kind is Views else (PatchSource(PatchStore(PATCHES, 16), views), None)
    val = {IDS[0]: 1, IDS[2]: 3}
    return KneeDataModule(*knees, options, labeled=LABELED, pseudo=pseudo, val=val, n_views=n_views)


def knee_number(patches: torch.Tensor) -> list[int]:
    return ((patches.flatten(1).mean(1) + 1) * 255 / 2 / 10).round().int().tolist()


@pytest.mark.parametrize("kind", [Views, DeviceViews])
def test_labeled_batches_hold_the_given_labels(kind: type) -> None:
    batches = list(module(kind).train_dataloader()["labeled"])
    assert [batch["views"].shape for batch in batches] == [(2, 2, 2, 16, 16), (1, 2, 2, 16, 16)]
    seen = {n: kl for b in batches for n, kl in zip(knee_number(b["views"][:, 0]), b["kl"].tolist(), strict=True)}
    assert seen == {3: 4, 7: 0, 1: 2}


@pytest.mark.parametrize("kind", [Views, DeviceViews])
def test_the_pseudo_pool_comes_in_two_views_and_without_any_label(kind: type) -> None:
    batches = list(module(kind).train_dataloader()["pseudo"])
    assert all(set(batch) == {"views"} for batch in batches)
    assert sorted(n for b in batches for n in knee_number(b["views"][:, 1])) == [8, 9, 10]


@pytest.mark.parametrize("kind", [Views, DeviceViews])
def test_one_view_without_a_pseudo_pool(kind: type) -> None:
    loaders = module(kind, pseudo=(), n_views=1).train_dataloader()
    assert set(loaders) == {"labeled"}
    assert next(iter(loaders["labeled"]))["views"].shape[1] == 1


@pytest.mark.parametrize("kind", [Views, DeviceViews])
def test_validation_knees_bring_their_grades_in_order(kind: type) -> None:
    (batch,) = module(kind).val_dataloader()
    assert knee_number(batch["patches"]) == [0, 2]
    assert batch["kl"].tolist() == [1, 3]


@pytest.mark.parametrize("kind", [Views, DeviceViews])
def test_given_knees_are_predicted_in_their_order_without_grades(kind: type) -> None:
    options = LoaderOptions(patch_size=16, eval_batch_size=2)
    made = module(kind)
    batches = list(KneeDataModule(made.knees, made.views, options, predict=IDS[5:2:-1]).predict_dataloader())
    assert [n for batch in batches for n in knee_number(batch["patches"])] == [5, 4, 3]
    assert [n for batch in batches for n in batch["position"].tolist()] == [0, 1, 2]
    assert all(set(batch) == {"patches", "position"} for batch in batches)


def test_unlabeled_knees_cannot_give_a_label() -> None:
    sample = EvaluationKnees(PATCHES, IDS[8:], size=16)[2]
    assert set(sample) == {"patches", "position"}
    assert sample["position"] == 2


def test_views_do_not_depend_on_the_number_of_workers() -> None:
    def first(workers: int) -> torch.Tensor:
        options = LoaderOptions(16, 2, 4, workers)
        data = KneeDataModule(PATCHES, Views(16), options, labeled=LABELED, n_views=2, seed=5)
        return torch.cat([batch["views"] for batch in data.train_dataloader()["labeled"]])

    assert torch.equal(first(0), first(2))


@pytest.mark.parametrize("kind", [Views, DeviceViews])
def test_steps_are_spread_over_the_epochs(kind: type) -> None:
    data = module(kind)
    data.epochs, data.steps = 3, 7
    seen = []
    for epoch in range(3):
        data.trainer = SimpleNamespace(  # type: ignore[assignment]
            current_epoch=epoch, global_rank=0, world_size=1, strategy=SimpleNamespace(root_device=torch.device("cpu"))
        )
        loaders = data.train_dataloader()
        assert len(loaders["labeled"]) == len(loaders["pseudo"]) == [2, 2, 3][epoch]
        seen.append([n for batch in loaders["labeled"] for n in knee_number(batch["views"][:, 0])])
    # Passes of two batches, with 2 and 1 of the 3 knees, go on over the end of an epoch.
    assert [sorted(part) for part in (seen[0], seen[1], seen[2][:3])] == [[1, 3, 7]] * 3
    assert len(seen[2]) == 5
