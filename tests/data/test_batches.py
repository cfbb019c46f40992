from __future__ import annotations

import numpy as np
import pytest
import torch

from kneeal.data import source as source_module
from kneeal.data.batches import EvaluationBatches, ShuffledBatches, ViewBatches, training_batches
from kneeal.data.patches import resize
from kneeal.data.source import OneView, PatchSource
from kneeal.data.views import Views

CPU = torch.device("cpu")
IDS = tuple(f"p{k}_R" for k in range(11))
PIXELS = np.random.default_rng(0).integers(0, 256, (11, 2, 32, 32)).astype(np.uint8)
ROW = {knee: 10 - k for k, knee in enumerate(IDS)}


def source(size: int = 32) -> PatchSource:
    return PatchSource(PIXELS, ROW, Views(size))


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
    loader = EvaluationBatches(source(size), IDS, batch_size=4, device=CPU)
    batches = list(loader)
    assert len(loader) == len(batches) == 3
    assert torch.cat([b["position"] for b in batches]).tolist() == list(range(11))
    expected = np.stack([resize(PIXELS[ROW[i]], size) for i in IDS]) * np.float32(2 / 255) - np.float32(1)
    torch.testing.assert_close(torch.cat([b["patches"] for b in batches]), torch.from_numpy(expected))


def test_a_share_brings_its_own_grades() -> None:
    kl = {knee: k % 5 for k, knee in enumerate(IDS)}
    loader = EvaluationBatches(source(), IDS, kl, batch_size=9, device=CPU, rank=1, world_size=3)
    (batch,) = loader
    assert batch["position"].tolist() == [1, 4, 7, 10]
    assert batch["kl"].tolist() == [1, 4, 2, 0]


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [0, 1, 4, 11])
def test_devices_together_see_every_knee_exactly_once(n: int, world_size: int) -> None:
    positions = []
    for rank in range(world_size):
        share = EvaluationBatches(source(), IDS[:n], batch_size=3, device=CPU, rank=rank, world_size=world_size)
        batches = list(share)
        assert all(set(batch) == {"patches", "position"} for batch in batches)
        positions += [p for batch in batches for p in batch["position"].tolist()]
    assert sorted(positions) == list(range(n))


def numbered(pseudo: tuple[str, ...], n_views: int, steps: int | None = None) -> dict[str, ViewBatches]:
    """Training batches of knees whose patches are their number in gray."""
    gray = np.arange(11, dtype=np.uint8)[:, None, None, None] * np.ones((11, 2, 16, 16), np.uint8) * 10
    still = Views(16, rotation=0.0, pad=0.0, gamma_p=0.0, noise_p=0.0)
    patches = PatchSource(gray, {knee: k for k, knee in enumerate(IDS)}, still)
    labeled = {IDS[3]: 4, IDS[7]: 0, IDS[1]: 2}
    return training_batches(
        patches, labeled, pseudo, n_views=n_views, seed=0, device=CPU, batch_size=2, steps=steps, epochs=3
    )


def numbers(patches: torch.Tensor) -> list[int]:
    return ((patches.flatten(1).mean(1) + 1) * 255 / 2 / 10).round().int().tolist()


def test_labeled_knees_come_with_their_grades_and_pseudo_knees_with_none() -> None:
    loaders = numbered(pseudo=IDS[8:11], n_views=2)
    batches = list(loaders["labeled"])
    assert [batch["views"].shape for batch in batches] == [(2, 2, 2, 16, 16), (1, 2, 2, 16, 16)]
    seen = {n: kl for b in batches for n, kl in zip(numbers(b["views"][:, 0]), b["kl"].tolist(), strict=True)}
    assert seen == {3: 4, 7: 0, 1: 2}
    batches = list(loaders["pseudo"])
    assert all(set(batch) == {"views"} for batch in batches)
    assert sorted(n for b in batches for n in numbers(b["views"][:, 1])) == [8, 9, 10]


def test_one_view_without_a_pseudo_pool() -> None:
    loaders = numbered(pseudo=(), n_views=1)
    assert set(loaders) == {"labeled"}
    assert next(iter(loaders["labeled"]))["views"].shape[1] == 1


def test_steps_are_spread_over_the_epochs() -> None:
    loaders, seen = numbered(pseudo=IDS[8:11], n_views=2, steps=7), []
    for n in (2, 2, 3):
        assert len(loaders["labeled"]) == len(loaders["pseudo"]) == n
        assert len(list(loaders["pseudo"])) == n
        seen.append([k for batch in loaders["labeled"] for k in numbers(batch["views"][:, 0])])
    # Passes of two batches, with 2 and 1 of the 3 knees, go on over the end of an epoch.
    assert [sorted(part) for part in (seen[0], seen[1], seen[2][:3])] == [[1, 3, 7]] * 3
    assert len(seen[2]) == 5


def test_patches_of_the_size_are_used_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "resize", lambda pair, size: pytest.fail("they were resampled"))
    patches = source()
    expected = torch.from_numpy(PIXELS[[ROW[knee] for knee in IDS]]).float() / 127.5 - 1
    torch.testing.assert_close(patches.plain(patches.rows(IDS), CPU), expected)


def test_what_memory_does_not_hold_is_read_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    roomy = source(16)
    expected = roomy.plain(roomy.rows(IDS), CPU)
    resampled: list[int] = []

    def counted(pair: np.ndarray, size: int) -> np.ndarray:
        resampled.append(size)
        return resize(pair, size)

    monkeypatch.setattr(source_module, "free_memory", lambda device=None: 5000)
    monkeypatch.setattr(source_module, "resize", counted)
    tight = source(16)
    assert torch.equal(tight.plain(tight.rows(IDS), CPU), expected)
    assert torch.equal(tight.plain(tight.rows(IDS[:3]), CPU), expected[:3])
    assert resampled == [16] * 14


def test_one_view_of_a_knee_is_that_of_its_seed_in_whatever_batch() -> None:
    seeds = {knee: 17 * k for k, knee in enumerate(IDS)}
    view, patches = OneView(source(), seeds.__getitem__), source()
    expected = patches.views(patches.rows(IDS), torch.tensor(list(seeds.values())), CPU)
    for batch_size in (11, 3):
        loader = EvaluationBatches(view, IDS, batch_size=batch_size, device=CPU)
        torch.testing.assert_close(torch.cat([batch["patches"] for batch in loader]), expected)


def test_on_another_device_patches_stay_resident_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    # The device "meta" stands for a GPU: it has shapes and no values.
    meta = torch.device("meta")
    patches = source()
    assert patches.rows(IDS, meta).device == meta
    assert patches.plain(patches.rows(IDS, meta), meta).shape == (11, 2, 32, 32)
    assert patches.rows(IDS, CPU).device == CPU
    monkeypatch.setattr(source_module, "free_memory", lambda device=None: 5000)
    assert source().rows(IDS, meta).device == CPU
