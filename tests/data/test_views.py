"""Random views are those of albumentations, statistically."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kneeal.data.views import Views

SPEED = Path(__file__).parents[2] / "benchmarks" / "speed"
AlbumentationsViews = runpy.run_path(str(SPEED / "plain_views.py"))["AlbumentationsViews"]
STILL = {"rotation": 0.0, "pad": 0.0, "gamma_p": 0.0, "noise_p": 0.0}


def both(size: int, pair: np.ndarray, n: int, **options: object) -> tuple[np.ndarray, np.ndarray]:
    """N views of one pair as numbers from 0 to 255, by the device and by albumentations."""
    changed = {**STILL, **options}
    pairs = torch.from_numpy(pair).expand(n, -1, -1, -1)
    device = (Views(size, **changed)(pairs, torch.arange(n) * 977 + 5) + 1) * 127.5  # type: ignore[arg-type]
    by_one = AlbumentationsViews(size, **changed)
    return device.numpy(), np.stack([by_one(pair, seed) for seed in range(n)]).astype(float)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Kolmogorov and Smirnov's: the largest difference of the two distribution functions."""
    points = np.sort(np.concatenate([a, b]))
    cdf = [np.searchsorted(np.sort(x), points, side="right") / len(x) for x in (a, b)]
    return float(np.abs(cdf[0] - cdf[1]).max())


def same_distribution(a: np.ndarray, b: np.ndarray) -> None:
    # At 1.95 sqrt((n + m) / (n m)) one comparison in a thousand would fail by chance; seeds are fixed, so none does.
    assert distance(a, b) < 1.95 * np.sqrt((len(a) + len(b)) / (len(a) * len(b)))


def gray(size: int, level: int = 128) -> np.ndarray:
    return np.full((2, size, size), level, np.uint8)


def dot(size: int = 101) -> np.ndarray:
    pair = np.zeros((2, size, size), np.uint8)
    pair[:, 48:53, 88:93] = 255  # 40 px to the right of the center
    return pair


def places(views: np.ndarray) -> np.ndarray:
    """Center of mass of the dot of each view, x and y from the center."""
    weights = views[:, 0] * (views[:, 0] > 60)
    axis = np.arange(views.shape[-1]) - (views.shape[-1] - 1) / 2
    total = weights.sum((1, 2))
    return np.stack([(weights.sum(1) @ axis) / total, (weights.sum(2) @ axis) / total], axis=1)


def test_without_any_change_the_view_is_the_pair() -> None:
    pair = np.random.default_rng(0).integers(0, 256, (2, 32, 32)).astype(np.uint8)
    view = Views(32, **STILL)(torch.from_numpy(pair)[None], torch.tensor([3]))  # type: ignore[arg-type]
    torch.testing.assert_close(view[0], torch.from_numpy(pair).float() * (2 / 255) - 1, atol=1e-6, rtol=0)


def test_a_view_is_a_function_of_its_pair_and_its_seed() -> None:
    pairs = torch.randint(0, 256, (6, 2, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seeds = torch.tensor([5, 6, 2**31 + 1, 7, 5, 2**40])
    views = Views(24)
    together = views(pairs, seeds)
    assert together.shape == (6, 2, 24, 24)
    assert together.dtype == torch.float32
    assert float(together.abs().max()) <= 1 + 1e-6
    torch.manual_seed(1)
    alone = torch.cat([views(pairs[k : k + 1], seeds[k : k + 1]) for k in range(6)])
    torch.testing.assert_close(alone, together)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    torch.testing.assert_close(views(pairs[order], seeds[order]), together[order])
    same = views(pairs[:1].expand(6, -1, -1, -1), seeds)
    differences = (same[:, None] - same[None]).abs().amax((2, 3, 4))
    assert torch.equal(differences == 0, torch.tensor([[bool(a == b) for b in seeds] for a in seeds]))


def test_angles() -> None:
    device, reference = (
        np.degrees(np.arctan2(*places(views)[:, ::-1].T)) for views in both(101, dot(), 400, rotation=10.0)
    )
    assert 9.5 < np.abs(device).max() < 10.1
    same_distribution(device, reference)
    assert np.allclose(np.hypot(*places(both(101, dot(), 50, rotation=10.0)[0]).T), 40, atol=0.15)


def test_shifts() -> None:
    device, reference = (places(views) - [40, 0] for views in both(101, dot(), 400, pad=0.05))
    for axis in (0, 1):
        assert (
            set(np.unique(device[:, axis].round(3))) == set(range(-5, 6)) == set(np.unique(reference[:, axis].round(3)))
        )
        same_distribution(device[:, axis].round(), reference[:, axis].round())
    assert abs(np.corrcoef(device.T)[0, 1]) < 0.1


@pytest.mark.parametrize("level", [128, 245, 4])
def test_noise(level: int) -> None:
    def deviations(views: np.ndarray) -> np.ndarray:
        return views.std(axis=(1, 2, 3))

    device, reference = both(32, gray(32, level), 500, noise_p=0.5)
    same_distribution(deviations(device).round(1), deviations(reference).round(1))
    assert abs(np.mean(deviations(device) < 1e-3) - 0.5) < 0.07
    noisy = device[deviations(device) > 1]
    assert noisy.mean() == pytest.approx(reference[deviations(reference) > 1].mean(), abs=0.25)


def test_noise_is_normal_and_white() -> None:
    device, _ = both(64, gray(64), 40, noise_p=1.0, noise_std=(0.05, 0.05))
    z = (device - 128) / (0.05 * 255)
    normal = np.random.default_rng(0).normal(size=z.size)
    assert distance(z.ravel(), normal) < 0.006
    for a, b in (
        (z[:, 0], z[:, 1]),
        (z[..., 1:], z[..., :-1]),
        (z[:, :, 1:], z[:, :, :-1]),
        (z[1:], z[:-1]),
        (z[:, 0] ** 2, z[:, 1] ** 2),
    ):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.012


def test_gamma() -> None:
    def exponents(views: np.ndarray) -> np.ndarray:
        return np.log(views[:, 0, 0, 0] / 255) / np.log(128 / 255)

    device, reference = (exponents(views) for views in both(16, gray(16), 800, gamma_p=0.5))
    assert 0.5 <= device.min() < 0.53
    assert 1.47 < device.max() < 1.501
    assert abs(np.mean(np.abs(device - 1) < 1e-4) - 0.5) < 0.06
    # 8 bits move an exponent by up to 0.02.
    same_distribution(device.round(1), reference.round(1))


def test_a_range_of_shifts_with_a_black_border() -> None:
    options = {"pad": (-0.02, 0.03), "border": "black"}
    device, reference = (places(views) - [40, 0] for views in both(101, dot(), 400, **options))
    for axis in (0, 1):
        assert (
            set(np.unique(device[:, axis].round(3))) == set(range(-3, 3)) == set(np.unique(reference[:, axis].round(3)))
        )
        same_distribution(device[:, axis].round(), reference[:, axis].round())
    for views in both(101, gray(101), 200, **options):
        dark = (views[:, 0] < 1).sum((1, 2))
        assert dark.min() <= 101 and dark.max() == 101**2 - 98**2
    for views in both(101, gray(101), 50, rotation=10.0, border="black"):
        assert (views[:, 0, 0, 0] < 1).mean() > 0.5


def test_contrast() -> None:
    device, reference = (v[:, 0, 0, 0] / 128 for v in both(16, gray(16), 800, contrast=(0.7, 1.0), contrast_p=0.5))
    assert 0.69 <= device.min() < 0.72
    assert abs(np.mean(device > 1 - 1e-5) - 0.5) < 0.06
    same_distribution(device.round(2), reference.round(2))


def test_each_patch_can_have_a_view_of_its_own() -> None:
    for each, together in (("knee", 1.0), ("patch", 0.0)):
        for views in both(16, gray(16), 400, contrast=(0.7, 1.0), contrast_p=1.0, each=each):
            found = np.corrcoef(views[:, 0, 0, 0], views[:, 1, 0, 0])[0, 1]
            assert found == pytest.approx(together, abs=0.12)


def test_all_together_look_alike() -> None:
    rows = np.linspace(0, 6, 48)
    pair = (128 + 90 * np.sin(rows)[:, None] * np.cos(rows / 2)[None]).astype(np.uint8)
    changes = {"rotation": 10.0, "pad": 0.05, "gamma_p": 0.5, "noise_p": 0.5}
    device, reference = both(48, np.stack([pair, pair.T]), 500, **changes)
    measures: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda v: v.mean((1, 2, 3)),
        lambda v: v.std((1, 2, 3)),
        lambda v: v[:, 0, 0, 1],
        lambda v: v[:, 0, 5, 5],
        lambda v: v[:, 1, 24, 40],
        lambda v: np.abs(np.diff(v, axis=3)).mean((1, 2, 3)),
    ]
    for measure in measures:
        same_distribution(measure(device), measure(reference))


def test_a_known_angle_turns_a_line() -> None:
    angled = Views(33, rotation=10.0, pad=0.0, gamma_p=0.0, noise_p=0.0)
    ramp = torch.arange(33).float().mul(6).byte().expand(1, 2, 33, 33)
    view = (angled(ramp, torch.tensor([8]))[0, 0] + 1) * 127.5 / 6  # in the middle, where nothing is reflected
    right, down = (view[12:21, 14:23] - view[12:21, 12:21]) / 2, (view[14:23, 12:21] - view[12:21, 12:21]) / 2
    torch.testing.assert_close(right.square() + down.square(), torch.ones(9, 9), atol=2e-3, rtol=0)


def test_the_parts_of_a_view_are_independent() -> None:
    drawn = both(24, gray(24), 300, noise_p=0.5, gamma_p=0.5)[0]
    noise, gamma = drawn.std(axis=(1, 2, 3)) > 1, np.abs(drawn.mean(axis=(1, 2, 3)) - 128) > 3
    assert 0.4 < noise.mean() < 0.6
    assert abs(np.corrcoef(noise, gamma)[0, 1]) < 0.2
    # The angle moves the dot up and down, the crop both ways.
    moved = places(both(101, dot(), 300, rotation=10.0, pad=0.05)[0])
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.2
