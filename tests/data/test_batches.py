from __future__ import annotations

import numpy as np
import pytest
import torch

from kneeal.data import store as store_module
from kneeal.data.batches import EvaluationBatches, PatchSource, ViewBatches
from kneeal.data.device_views import DeviceViews
from kneeal.data.sampling import Share, ShuffledBatches
from kneeal.data.store import PatchStore, StoredPatches
from kneeal.data.views import normalize, resize

CPU = torch.device("cpu")
IDS = tuple(f"p{k}_R" for k in range(11))
PIXELS = np.random.default_rng(0).integers(0, 256, (11, 2, 32, 32)).astype(np.uint8)
PATCHES = StoredPatches(PIXELS, {knee: 10 - k for k, knee in enumerate(IDS)})


def source(size: int = 32) -> PatchSource:
    return PatchSource(PatchStore(PATCHES, size), DeviceViews(size))


def view_batches(rank: int = 0, world_size: int = 1, size: int = 32) -> ViewBatches:
    batches = ShuffledBatches(11, 4, seed=3, rank=rank, world_size=world_size)
    kl = {knee: k % 5 for k, knee in enumerate(IDS)}
    return ViewBatches(source(size), IDS, batches, n_views=2, kl=kl, device=CPU)


def test_two_devices_see_the_batches_of_one() -> None:
    one, left, right = view_batches(), view_batches(0, 2), view_batches(1, 2)
    for _ in range(2):  # epochs
        for whole, a, b in zip(one, left, right, strict=True):
            n = len(whole["kl"])
            for name in ("views", "kl"):
                dealt = torch.stack([a[name], b[name]], dim=1).flatten(0, 1)[:n]
                torch.testing.assert_close(dealt, whole[name])


def test_an_epoch_has_each_knee_once_in_two_views_that_differ_and_the_next_has_others() -> None:
    loader = view_batches()
    assert len(loader) == 3
    first, second = (list(loader) for _ in range(2))
    assert [tuple(b["views"].shape) for b in first] == [(4, 2, 2, 32, 32), (4, 2, 2, 32, 32), (3, 2, 2, 32, 32)]
    assert sorted(torch.cat([b["kl"] for b in first]).tolist()) == sorted(k % 5 for k in range(11))
    views = torch.cat([b["views"] for b in first])
    assert (views[:, 0] - views[:, 1]).abs().amax((1, 2, 3)).min() > 0.05
    assert not torch.equal(views, torch.cat([b["views"] for b in second]))
    assert torch.equal(views, torch.cat([b["views"] for b in view_batches()])), "a function of seed, epoch and position"


@pytest.mark.parametrize("size", [32, 16])
def test_evaluation_batches_are_the_stored_knees_in_order(size: int) -> None:
    loader = EvaluationBatches(source(size), IDS, Share(11), batch_size=4, kl=None, device=CPU)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert torch.cat([b["position"] for b in batches]).tolist() == list(range(11))
    expected = np.stack([normalize(resize(PATCHES[i], size)) for i in IDS])
    torch.testing.assert_close(torch.cat([b["patches"] for b in batches]), torch.from_numpy(expected))


def test_a_share_brings_its_own_grades() -> None:
    kl = {knee: k % 5 for k, knee in enumerate(IDS)}
    loader = EvaluationBatches(source(), IDS, Share(11, rank=1, world_size=3), batch_size=9, kl=kl, device=CPU)
    (batch,) = loader
    assert batch["position"].tolist() == [1, 4, 7, 10]
    assert batch["kl"].tolist() == [1, 4, 2, 0]


def test_a_data_set_of_the_size_is_not_copied() -> None:
    store = PatchStore(PATCHES, 32)
    assert store._array is PIXELS
    store.rows(IDS)
    assert store._array is PIXELS


def test_what_memory_does_not_hold_is_read_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    roomy = PatchStore(PATCHES, 16)
    expected = roomy.gather(roomy.rows(IDS), CPU)
    monkeypatch.setattr(store_module, "free_memory", lambda device=None: 5000)
    tight = PatchStore(PATCHES, 16)
    rows = [tight.rows(IDS[:3]), tight.rows(IDS)]
    assert tight._array is None
    assert torch.equal(tight.gather(rows[1], CPU), expected)
    assert torch.equal(tight.gather(rows[0], CPU), expected[:3])


def test_a_store_grows_by_what_is_new() -> None:
    store = PatchStore(PATCHES, 16)
    first = store.rows(IDS[:4])
    again = store.rows(IDS)
    assert torch.equal(again[:4], first)
    expected = torch.from_numpy(np.stack([resize(PATCHES[i], 16) for i in IDS]))
    assert torch.equal(store.gather(again, CPU), expected)


def test_on_another_device_patches_stay_resident_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    # The device "meta" stands for a GPU: it has shapes and no values.
    meta = torch.device("meta")
    store = PatchStore(PATCHES, 32)
    assert store.row_device(meta) == meta
    assert store._resident[meta].shape == (11, 2, 32, 32)
    assert store.row_device(CPU) == CPU
    monkeypatch.setattr(store_module, "free_memory", lambda device=None: 5000)
    assert PatchStore(PATCHES, 32).row_device(meta) == CPU
