from __future__ import annotations

import pytest
import torch
from helpers.pools import pool

from kneeal.acquisition import geometry


def features(n: int, seed: int = 0) -> torch.Tensor:
    x = pool(n, seed=seed).features
    assert x is not None
    return x


def test_distances_in_blocks_are_the_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features(17), features(5, seed=1)
    expected = torch.cdist(x, y).square()
    torch.testing.assert_close(geometry.squared_distances(x, y), expected)
    monkeypatch.setattr(geometry, "BLOCK", 12)
    distance, index = geometry.nearest(x, y)
    torch.testing.assert_close(distance, expected.min(dim=1).values)
    assert torch.equal(index, expected.min(dim=1).indices)


def test_k_means_ends_where_each_center_is_the_mean_of_its_points(monkeypatch: pytest.MonkeyPatch) -> None:
    x = features(60)
    centers, labels = geometry.k_means(x, 5, torch.Generator().manual_seed(0), n_iter=100)
    for cluster in range(5):
        torch.testing.assert_close(centers[cluster], x[labels == cluster].mean(dim=0))
    assert torch.equal(labels, torch.cdist(x, centers).argmin(dim=1))


def test_k_means_on_a_part_assigns_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry, "FIT_POINTS", 20)
    x = features(60)
    centers, labels = geometry.k_means(x, 3, torch.Generator().manual_seed(0))
    assert labels.shape == (60,)
    assert torch.equal(labels, torch.cdist(x, centers).argmin(dim=1))


def test_as_many_clusters_as_points() -> None:
    x = features(6)
    _, labels = geometry.k_means(x, 6, torch.Generator().manual_seed(0))
    assert sorted(labels.tolist()) == list(range(6))
