from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.fake_runner import POOL, FakeRunner

from kneeal import acquisition
from kneeal.acquisition import Needs, Posterior, Predictions, measures
from kneeal.loop.active import ActiveLearningLoop
from kneeal.loop.query import Schedule, SimulatedOracle
from kneeal.loop.runner import Runner
from kneeal.loop.writer import RunWriter
from kneeal.nn.heads import HEADS
from kneeal.pool import PoolState
from kneeal.training.posteriors.augmented import AugmentedRunner
from kneeal.training.posteriors.ensemble import EnsembleRunner
from kneeal.training.posteriors.laplace import draw_last_layers, draw_outputs

TEST = {"t1": 0, "t2": 3, "t3": 1}
IDS = POOL[:6]


class Member(FakeRunner):
    """Its predictions depend on its name and on what its checkpoint says."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.places: list[Path] = []

    def fit(self, state: PoolState, checkpoint: Path, previous: Path | None) -> Mapping[str, float]:
        super().fit(state, checkpoint, previous)
        self.places.append(checkpoint)
        checkpoint.write_text(f"{self.name} after {previous.read_text() if previous else 'nothing'}")
        return {"balanced_accuracy": float(len(self.name))}


def ensemble(n: int = 3, **options: bool) -> tuple[EnsembleRunner, list[Member]]:
    members = [Member("m" * (k + 1)) for k in range(n)]
    return EnsembleRunner(members[0], TEST, members, **options), members


def fitted(runner: Runner, folder: Path, round: int = 0, previous: Path | None = None) -> Path:
    checkpoint = folder / f"{round}" / "best.ckpt"
    runner.fit(PoolState(dict.fromkeys(POOL[10:12], 1), POOL[:10], round=round), checkpoint, previous)
    return checkpoint


def test_an_ensemble_is_one_sample_a_member(tmp_path: Path) -> None:
    runner, members = ensemble()
    checkpoint = fitted(runner, tmp_path)
    assert sorted(p.name for p in checkpoint.parent.iterdir()) == ["best.1.ckpt", "best.2.ckpt", "best.ckpt"]
    found = runner.predict(checkpoint, 0, IDS, Needs(Posterior.SAMPLES, 50)).require_log_probs()
    assert found.shape == (6, 3, 5)
    for k, member in enumerate(members):
        alone = member.predict(member.places[0], 0, IDS, Needs(Posterior.POINT)).require_log_probs()
        torch.testing.assert_close(found[:, k], alone[:, 0])
    point = runner.predict(checkpoint, 0, IDS, Needs(Posterior.POINT)).require_log_probs()
    torch.testing.assert_close(point[:, 0].exp(), found.exp().mean(dim=1))


def test_members_of_dropout_share_the_samples(tmp_path: Path) -> None:
    runner, members = ensemble(dropout=True)
    checkpoint = fitted(runner, tmp_path)
    found = runner.predict(checkpoint, 0, IDS, Needs(Posterior.SAMPLES, 6)).require_log_probs()
    assert found.shape == (6, 6, 5)
    second = members[1].predict(members[1].places[0], 0, IDS, Needs(Posterior.SAMPLES, 2)).require_log_probs()
    torch.testing.assert_close(found[:, 2:4], second)
    for asked, drawn in ((50, 51), (2, 3)):
        assert runner.samples(checkpoint, 0, IDS, asked).shape == (6, drawn, 5)


def test_the_metrics_are_those_of_the_mean_and_the_uncertainty_that_of_the_samples(tmp_path: Path) -> None:
    runner, _ = ensemble()
    checkpoint = fitted(runner, tmp_path)
    evaluation = runner.test(checkpoint, 0, Needs(Posterior.SAMPLES, 3))
    samples = runner.samples(checkpoint, 0, tuple(TEST), 3)
    torch.testing.assert_close(evaluation.probs, samples.exp().mean(dim=1))
    torch.testing.assert_close(evaluation.uncertainty, measures.entropy(samples))
    assert sum(map(sum, evaluation.confusion)) == 3


def test_validation_is_the_mean_over_the_members(tmp_path: Path) -> None:
    runner, _ = ensemble()
    state = PoolState(dict.fromkeys(POOL[10:12], 1), POOL[:10])
    assert runner.fit(state, tmp_path / "best.ckpt", None) == {"balanced_accuracy": 2.0}


def test_a_warm_start_is_each_members_own(tmp_path: Path) -> None:
    runner, _ = ensemble(2)
    first = fitted(runner, tmp_path)
    second = fitted(runner, tmp_path, 1, first)
    assert second.read_text() == "m after m after nothing"
    assert (second.parent / "best.1.ckpt").read_text() == "mm after mm after nothing"


def test_a_snapshot_goes_on_from_the_one_before_it(tmp_path: Path) -> None:
    runner, _ = ensemble(chain=True)
    first = fitted(runner, tmp_path)
    assert first.read_text() == "m after mm after mmm after nothing"
    second = fitted(runner, tmp_path, 1, first)
    assert second.read_text() == "m after mm after mmm after m after mm after mmm after nothing"


class Pixels:
    """Predicts from the patches that it is given."""

    def __init__(self, patches: Mapping[str, np.ndarray]) -> None:
        self.patches = patches

    def fit(self, state: PoolState, checkpoint: Path, previous: Path | None) -> Mapping[str, float]:
        return {"balanced_accuracy": 0.5}

    def predict(self, checkpoint: Path, round: int, ids: Sequence[str], needs: Needs) -> Predictions:
        x = torch.stack([torch.from_numpy(self.patches[i].astype(np.float32)).flatten()[:5] for i in ids])
        return Predictions(tuple(ids), x.log_softmax(-1).unsqueeze(1), x if needs.features else None)


def test_augmentation_predicts_each_view() -> None:
    patches = {i: np.arange(8, dtype=np.uint8).reshape(2, 2, 2) + k for k, i in enumerate(IDS)}

    def viewed(k: int) -> Pixels:
        return Pixels(
            {i: np.random.default_rng((k, *i.encode())).permutation(pair.flatten()) for i, pair in patches.items()}
        )

    runner = AugmentedRunner(Pixels(patches), TEST, viewed)  # type: ignore[arg-type, return-value]
    samples = runner.samples(Path(), 0, IDS, 4)
    assert samples.shape == (6, 4, 5)
    torch.testing.assert_close(
        samples[:, 2], viewed(2).predict(Path(), 0, IDS, Needs(Posterior.POINT)).require_log_probs()[:, 0]
    )
    assert not torch.allclose(samples[:, 0], samples[:, 1])
    torch.testing.assert_close(runner.samples(Path(), 0, IDS[::-1], 4).flip(0), samples)
    plain = Pixels(patches).predict(Path(), 0, IDS, Needs(Posterior.POINT)).require_log_probs()
    torch.testing.assert_close(runner.predict(Path(), 0, IDS, Needs(Posterior.POINT)).require_log_probs(), plain)


@pytest.mark.parametrize("name", ["bald", "batch_bald", "badge", "entropy", "coreset"])
def test_the_loop_runs_on_an_ensemble_and_every_kind_of_strategy(name: str, tmp_path: Path) -> None:
    runner, _ = ensemble(2)
    loop = ActiveLearningLoop(
        runner, acquisition.get(name), POOL, RunWriter(tmp_path), Schedule(6, 4, 14), consistency=False
    )
    state = loop.run(SimulatedOracle(dict.fromkeys(POOL, 2)))
    assert len(state.labeled) == 14


def data(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, 4, generator=generator)
    x = torch.randn(n, 4, generator=generator)
    return weight, x, torch.multinomial((x @ weight.T).softmax(-1), 1, generator=generator)[:, 0]


def test_laplace_draws_around_the_weights_and_nearer_with_more_data() -> None:
    pytest.importorskip("laplace", reason="laplace-torch is not installed (pip install '.[laplace]')")
    weight, x, kl = data(2000)
    before = torch.get_rng_state()
    many = draw_last_layers(weight, x, kl, 400, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert many.shape == (400, 3, 4)
    assert float((many.mean(dim=0) - weight).abs().max()) < 5 * float(many.std(dim=0).max()) / 20
    few = draw_last_layers(weight, x[:50], kl[:50], 400, seed=1)

    def spread(draws: torch.Tensor) -> float:
        # What all grades share does not change a probability, and no data can narrow it.
        return float((draws - draws.mean(dim=1, keepdim=True)).std(dim=0).mean())

    assert spread(few) > 2 * spread(many)
    torch.testing.assert_close(draw_last_layers(weight, x, kl, 400, seed=1), many)
    assert not torch.allclose(draw_last_layers(weight, x, kl, 400, seed=2), many)


@pytest.mark.parametrize("name", ["corn", "cumulative"])
def test_laplace_draws_each_output_of_an_ordered_head_around_its_weights(name: str) -> None:
    pytest.importorskip("laplace", reason="laplace-torch is not installed (pip install '.[laplace]')")
    head = HEADS[name](4)
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(3, 4, generator=generator), torch.randn(2000, 4, generator=generator)
    kl = torch.multinomial(head.logits(x @ weight.T).softmax(-1), 1, generator=generator)[:, 0]
    draws = draw_outputs(head, weight, x, kl, 400, seed=1)
    assert draws.shape == (400, 3, 4)
    assert float((draws.mean(dim=0) - weight).abs().max()) < 5 * float(draws.std(dim=0).max()) / 20
    assert float(draws.std(dim=0).min()) > 0.01
    # Only grades 0 and 1: the outputs for higher grades have no problem, or one of a single class.
    few = draw_outputs(head, weight, x[kl < 2], kl[kl < 2], 5, seed=1)
    assert bool(torch.isfinite(few).all())
