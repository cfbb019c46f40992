from __future__ import annotations

import numpy as np
import pytest
import torch

from kneeal.data import store as store_module
from kneeal.data.batches import EvaluationBatches, OneView, PatchSource, ViewBatches
from kneeal.data.patches import resize
from kneeal.data.sampling import ShuffledBatches
from kneeal.data.store import PatchStore
from kneeal.data.views import Views

CPU = torch.device("cpu")
IDS = tuple(f"p{k}_R" for k in range(11))
PIXELS = np.random.default_rng(0).integers(0, 256, (11, 2, 32, 32)).astype(np.uint8)
ROW = {knee: 10 - k for k, knee in enumerate(IDS)}


def source(size: int = 32) -> PatchSource:
    return PatchSource(PatchStore(PIXELS, ROW, size), Views(size))


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
    loader = EvaluationBatches(source(size), IDS, range(11), batch_size=4, kl=None, device=CPU)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert torch.cat([b["position"] for b in batches]).tolist() == list(range(11))
    expected = np.stack([resize(PIXELS[ROW[i]], size) for i in IDS]) * np.float32(2 / 255) - np.float32(1)
    torch.testing.assert_close(torch.cat([b["patches"] for b in batches]), torch.from_numpy(expected))


def test_a_share_brings_its_own_grades() -> None:
    kl = {knee: k % 5 for k, knee in enumerate(IDS)}
    loader = EvaluationBatches(source(), IDS, range(1, 11, 3), batch_size=9, kl=kl, device=CPU)
    (batch,) = loader
    assert batch["position"].tolist() == [1, 4, 7, 10]
    assert batch["kl"].tolist() == [1, 4, 2, 0]


def test_a_data_set_of_the_size_is_not_copied() -> None:
    store = PatchStore(PIXELS, ROW, 32)
    assert store._patches is PIXELS


def test_what_memory_does_not_hold_is_read_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    roomy = PatchStore(PIXELS, ROW, 16)
    expected = roomy.gather(roomy.rows(IDS), CPU)
    monkeypatch.setattr(store_module, "free_memory", lambda device=None: 5000)
    tight = PatchStore(PIXELS, ROW, 16)
    rows = [tight.rows(IDS[:3]), tight.rows(IDS)]
    assert tight._patches is PIXELS
    assert torch.equal(tight.gather(rows[1], CPU), expected)
    assert torch.equal(tight.gather(rows[0], CPU), expected[:3])


def test_a_store_resamples() -> None:
    store = PatchStore(PIXELS, ROW, 16)
    expected = torch.from_numpy(np.stack([resize(PIXELS[ROW[i]], 16) for i in IDS]))
    assert torch.equal(store.gather(store.rows(IDS), CPU), expected)


def test_one_view_of_a_knee_is_that_of_its_seed_in_whatever_batch() -> None:
    seeds = {knee: 17 * k for k, knee in enumerate(IDS)}
    view, patches = OneView(source(), seeds.__getitem__), source()
    expected = patches.views(patches.rows(IDS), torch.tensor(list(seeds.values())), CPU)
    for batch_size in (11, 3):
        loader = EvaluationBatches(view, IDS, range(11), batch_size=batch_size, kl=None, device=CPU)
        torch.testing.assert_close(torch.cat([batch["patches"] for batch in loader]), expected)


def test_on_another_device_patches_stay_resident_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    # The device "meta" stands for a GPU: it has shapes and no values.
    meta = torch.device("meta")
    store = PatchStore(PIXELS, ROW, 32)
    assert store.row_device(meta) == meta
    assert store._resident[meta].shape == (11, 2, 32, 32)
    assert store.row_device(CPU) == CPU
    monkeypatch.setattr(store_module, "free_memory", lambda device=None: 5000)
    assert PatchStore(PIXELS, ROW, 32).row_device(meta) == CPU
