from __future__ import annotations

import pytest
import torch
from helpers.pools import pool, rows

from kneeal import acquisition
from kneeal.acquisition import Predictions, clusters
from kneeal.acquisition.clusters import average_linkage, typicality


def blobs(sizes: list[int], seed: int = 0) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    centers = 100.0 * torch.eye(len(sizes))
    x = torch.cat([c + torch.randn(n, len(sizes), generator=generator) for c, n in zip(centers, sizes, strict=True)])
    names = tuple(f"{'abcdef'[b]}{i:02d}" for b, n in enumerate(sizes) for i in range(n))
    return Predictions(names, None, x)


def test_typicality_by_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    x = pool(20).features
    assert x is not None
    expected = [1 / (sum(sorted(float((a - b).norm()) for b in x)[1:6]) / 5 + 1e-5) for a in x]
    assert typicality(x, 5).tolist() == pytest.approx(expected)
    monkeypatch.setattr("kneeal.acquisition.geometry.BLOCK", 40)  # two rows at a time
    assert typicality(x, 5).tolist() == pytest.approx(expected)


def test_typiclust_takes_the_most_typical_of_each_cluster_the_largest_first() -> None:
    predictions = blobs([8, 20, 13])
    strategy = acquisition.get("typiclust", n_neighbors=3, normalize=False)
    chosen = strategy.select(predictions, 3, seed=0)
    assert [i[0] for i in chosen] == ["b", "c", "a"]
    assert predictions.features is not None
    for name in chosen:
        inside = [k for k, i in enumerate(predictions.ids) if i[0] == name[0]]
        best = inside[int(typicality(predictions.features[inside], 3).argmax())]
        assert predictions.ids[best] == name


def test_typiclust_passes_over_clusters_that_hold_a_label_and_over_outliers() -> None:
    predictions = blobs([20, 15, 10, 2])
    labeled = Predictions(("known",), None, blobs([1, 1, 1, 1]).features[:1])  # type: ignore[index]
    strategy = acquisition.get("typiclust", normalize=False)
    # Four clusters for one label and three knees asked for.
    assert [i[0] for i in strategy.select(predictions, 3, labeled=labeled, seed=0)] == ["b", "c", "a"]


@pytest.mark.parametrize("n", [14, 30, 60])
@pytest.mark.parametrize("n_labels", [0, 25])
def test_typiclust_is_the_published_loop(monkeypatch: pytest.MonkeyPatch, n: int, n_labels: int) -> None:
    """Hacohen et al., Algorithm 1: clusters by labels, then size; what is labeled or chosen leaves its cluster."""
    predictions, labeled = pool(150, seed=3), pool(25, seed=4, prefix="known").take(list(range(n_labels)))
    everything = predictions.joined(labeled)
    assert everything.features is not None
    generator = torch.Generator().manual_seed(1)
    cluster_of = {i: int(torch.randint(12, (1,), generator=generator)) for i in everything.ids}
    cluster_of.update({i: 12 + k // 4 for k, i in enumerate(everything.ids[:8])})  # two that are too small
    x = dict(zip(everything.ids, torch.nn.functional.normalize(everything.features, dim=1), strict=True))

    def typical(members: list[str]) -> str:
        k = min(20, max(1, len(members) // 2), max(1, len(members) - 1))
        mean = {i: sum(sorted(float((x[i] - x[j]).norm()) for j in members if j != i)[:k]) / k for i in members}
        return min(members, key=mean.__getitem__)

    left = {c: [i for i in predictions.ids if cluster_of[i] == c] for c in range(14)}
    sizes = {c: sum(v == c for v in cluster_of.values()) for c in range(14)}
    marked = {c: sum(cluster_of[i] == c for i in labeled.ids) for c in range(14)}
    order = sorted((c for c in range(14) if sizes[c] > 5), key=lambda c: (marked[c], -sizes[c], c))
    expected: list[str] = []
    turn = 0
    while len(expected) < n:
        members = left[order[turn % len(order)]]
        turn += 1
        if members:
            expected.append(typical(members))
            members.remove(expected[-1])

    def given(points: torch.Tensor, k: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        row = {tuple(v.tolist()): i for i, v in x.items()}
        near = [min(row, key=lambda v: sum((a - b) ** 2 for a, b in zip(v, p, strict=True))) for p in points.tolist()]
        return points[:k], torch.tensor([cluster_of[row[v]] for v in near])

    # Without the shift by the mean, the points can be told from each other by their features.
    monkeypatch.setattr(clusters, "vectors", lambda pool, known, normalize: (unit(pool), unit(known)))
    monkeypatch.setattr(clusters, "k_means", given)
    strategy = acquisition.get("typiclust", max_clusters=14)
    assert list(strategy.select(predictions, n, labeled=labeled, seed=0)) == expected


def unit(predictions: Predictions | None) -> torch.Tensor:
    if predictions is None:
        return torch.zeros(0, 4, dtype=torch.float64)
    return torch.nn.functional.normalize(predictions.require_features(), dim=1)


def test_a_cluster_too_large_for_all_distances_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "_MAX_CLUSTER", 6)
    chosen = acquisition.get("typiclust", normalize=False).select(blobs([30, 20]), 45, seed=0)
    assert len(set(chosen)) == 45


def test_kmeans_takes_the_nearest_to_each_center() -> None:
    predictions = blobs([8, 20, 13])
    chosen = acquisition.get("kmeans", normalize=False).select(predictions, 3, seed=0)
    assert [i[0] for i in chosen] == ["b", "c", "a"]
    x = predictions.features
    assert x is not None
    for position in rows(predictions, chosen):
        inside = [k for k, i in enumerate(predictions.ids) if i[0] == predictions.ids[position][0]]
        distances = (x[inside] - x[inside].mean(dim=0)).norm(dim=1)
        assert inside[int(distances.argmin())] == position


@pytest.mark.parametrize("name", ["kmeans", "typiclust"])
def test_the_length_of_the_features_does_not_matter_unless_asked(name: str) -> None:
    predictions = pool(50)
    assert predictions.features is not None
    stretched = Predictions(predictions.ids, None, predictions.features * torch.rand(50, 1).add(0.5))
    assert acquisition.get(name).select(predictions, 6, seed=0) == acquisition.get(name).select(stretched, 6, seed=0)
    plain = acquisition.get(name, normalize=False)
    assert plain.select(predictions, 6, seed=0) != plain.select(stretched, 6, seed=0)


def test_score_is_the_share_of_samples_that_change_the_grade() -> None:
    predictions = pool(30, k=7)
    probs = predictions.require_log_probs().exp().tolist()
    expected = []
    for knee in probs:
        mean = [sum(sample[c] for sample in knee) for c in range(3)]
        grade = mean.index(max(mean))
        expected.append(sum(sample.index(max(sample)) != grade for sample in knee) / 7)
    assert torch.allclose(acquisition.get("drop_query").score(predictions), torch.tensor(expected))


def clumps(changing: list[bool]) -> Predictions:
    """Groups of nine knees around a center, of which the first lies exactly on it."""
    sure = torch.tensor([[0.9, 0.05, 0.05]] * 5)
    split = torch.tensor([[0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.0, 0.9, 0.1], [0.1, 0.0, 0.9], [0.1, 0.2, 0.7]])
    ring = torch.tensor([[0.0, 0.0], *([a, b] for a in (-1.0, 0.0, 1.0) for b in (-1.0, 0.0, 1.0) if (a, b) != (0, 0))])
    x = torch.cat([ring + 100.0 * k for k in range(len(changing))])
    log_probs = torch.stack([split if c else sure for c in changing for _ in range(9)]).log()
    return Predictions(tuple(f"{'abcdef'[k]}{i}" for k in range(len(changing)) for i in range(9)), log_probs, x)


def test_candidates_change_their_grade_and_the_central_one_of_each_cluster_is_taken() -> None:
    predictions = clumps([True, False, True, True])
    assert float(acquisition.get("drop_query").score(predictions)[0]) == pytest.approx(0.6)
    chosen = acquisition.get("drop_query").select(predictions, 3, seed=0)
    assert set(chosen) == {"a0", "c0", "d0"}


def test_too_few_candidates_are_filled_up_by_those_that_change_most() -> None:
    predictions = pool(40, k=6, sharp=0.8)
    changes = acquisition.get("drop_query").score(predictions)
    n = int((changes > 0.5).sum()) + 4
    chosen = rows(predictions, acquisition.get("drop_query").select(predictions, n, seed=0))
    left = [k for k in range(40) if k not in chosen]
    assert float(changes[chosen].min()) >= float(changes[left].max())


def greedy_linkage(x: torch.Tensor, k: int) -> set[frozenset[int]]:
    """Join the two nearest clusters until k are left, distances averaged over all pairs."""
    distance = torch.cdist(x, x)
    clusters = [frozenset([i]) for i in range(len(x))]
    while len(clusters) > k:
        pairs = [(a, b) for i, a in enumerate(clusters) for b in clusters[:i]]
        a, b = min(pairs, key=lambda pair: float(distance[sorted(pair[0])][:, sorted(pair[1])].mean()))
        clusters = [c for c in clusters if c not in (a, b)] + [a | b]
    return set(clusters)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 4, 19, 25])
def test_linkage_by_joining_the_nearest(seed: int, k: int) -> None:
    x = pool(25, seed=seed).features
    assert x is not None
    labels = average_linkage(x, k).tolist()
    found = {frozenset(i for i, label in enumerate(labels) if label == c) for c in set(labels)}
    assert found == greedy_linkage(x, k)
    assert sorted(set(labels)) == list(range(k))


def test_one_of_each_cluster_from_the_smallest() -> None:
    x = torch.cat([torch.zeros(2, 2), torch.full((3, 2), 10.0), torch.tensor([[0.0, 50.0]] * 5)])
    x = x + torch.arange(10.0)[:, None] / 1000
    log_probs = torch.tensor([[[0.5, 0.5]]] * 10).log()
    predictions = Predictions(tuple("abcdefghij"), log_probs, x)
    strategy = acquisition.get("cluster_margin", cluster_size=4)
    for seed in range(10):
        first, second, third, fourth = strategy.select(predictions, 4, seed=seed)
        assert first in "ab"
        assert second in "cde"
        assert third in "fghij"
        assert fourth in "ab"


def test_only_knees_of_the_lowest_margin_are_candidates() -> None:
    predictions = pool(60, k=1)
    scores = acquisition.get("margin").score(predictions)
    lowest = set(scores.topk(15).indices.tolist())
    chosen = acquisition.get("cluster_margin", oversampling=3).select(predictions, 5, seed=0)
    assert set(rows(predictions, chosen)) <= lowest


def test_a_query_too_large_to_cluster_is_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "_MAX_CANDIDATES", 4)
    predictions = pool(20, k=1)
    expected = acquisition.get("margin").select(predictions, 6, seed=0)
    assert set(acquisition.get("cluster_margin").select(predictions, 6, seed=0)) == set(expected)
