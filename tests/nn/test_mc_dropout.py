from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kneeal.errors import UserError
from kneeal.nn.mc_dropout import MonteCarloDropout
from kneeal.nn.network import SiameseKneeNet


class Twice(nn.Module):
    """Calls one branch with dropout twice, after a shared stem."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.branch = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Dropout2d(0.4), nn.Conv2d(4, 4, 3))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        left, right = (self.branch(self.stem(part)).mean((2, 3)) for part in x.chunk(2, dim=-1))
        return self.head(torch.cat([left, right], dim=1))


class Changes(nn.Module):
    """Changes in place what a module gave it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        hidden += 1
        return self.last(self.drop(hidden))


def flat(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), *layers)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "elementwise": lambda: (flat(nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 3)), torch.randn(5, 1, 8, 8)),
    "in-place activation": lambda: (
        flat(nn.ReLU(True), nn.Linear(12, 12), nn.ReLU(True), nn.Dropout(0.3, inplace=True), nn.Linear(12, 3)),
        torch.randn(5, 1, 8, 8),
    ),
    "batch norm": lambda: (
        nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout2d(0.3), nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6),
            nn.Dropout(0.2), nn.Flatten(), nn.Linear(96, 3),
        ),
        torch.randn(5, 1, 8, 8),
    ),
    "alpha": lambda: (flat(nn.SELU(), nn.AlphaDropout(0.2), nn.Linear(12, 3)), torch.randn(5, 1, 8, 8)),
    "dropout first": lambda: (nn.Sequential(nn.Dropout(0.3), nn.Linear(7, 3)), torch.randn(5, 7)),
    "called twice": lambda: (Twice(), torch.randn(5, 1, 8, 16)),
    "changed in place": lambda: (Changes(), torch.randn(5, 6)),
    "ours": lambda: (SiameseKneeNet(width=2), torch.randn(5, 2, 16, 16)),
}  # fmt: skip


def sampler(network: nn.Module, **options: object) -> MonteCarloDropout:
    output = (lambda result: result.logits) if isinstance(network, SiameseKneeNet) else (lambda result: result)
    return MonteCarloDropout(network, output=output, **options)  # type: ignore[arg-type]


def close(actual: Tensor, expected: Tensor) -> None:
    """Equal but for rounding, which ten norms over maps of few elements enlarge."""
    torch.testing.assert_close(actual, expected, atol=5e-4, rtol=1e-4)


@pytest.fixture(params=NETWORKS)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(3)
    network, x = NETWORKS[request.param]()
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, 0.5)
    return network, x


def test_samples_have_a_place_of_their_own_and_differ(case: tuple[nn.Module, Tensor]) -> None:
    network, x = case
    samples = sampler(network, n_samples=7)(x)
    assert samples.shape[:2] == (5, 7)
    assert float(samples.std(dim=1).mean()) > 1e-4


def test_reusing_the_prefix_changes_no_number_but_for_rounding(case: tuple[nn.Module, Tensor]) -> None:
    network, x = case
    torch.testing.assert_close(
        sampler(network, n_samples=6, seed=1)(x.clone()),
        sampler(network, n_samples=6, seed=1, reuse_prefix=False)(x.clone()),
    )


def test_inference_mode_gives_the_same_numbers(case: tuple[nn.Module, Tensor]) -> None:
    network, x = case
    expected = sampler(network, n_samples=3)(x.clone())
    with torch.inference_mode():
        assert torch.equal(sampler(network, n_samples=3)(x.clone()), expected)


def test_a_sample_of_one_input_does_not_depend_on_its_batch(case: tuple[nn.Module, Tensor]) -> None:
    network, x = case
    draw = sampler(network, n_samples=6, seed=1)
    together = draw(x)
    torch.testing.assert_close(draw(x.flip(0)).flip(0), together)
    torch.testing.assert_close(torch.cat([draw(x[:2]), draw(x[2:])]), together)


def test_everything_is_left_as_it_was(case: tuple[nn.Module, Tensor]) -> None:
    network, x = case
    network.train()
    next(iter(network.children())).eval()
    before, modes = copy.deepcopy(network.state_dict()), [m.training for m in network.modules()]
    keys, random_state = [set(m.__dict__) for m in network.modules()], torch.get_rng_state()
    sampler(network, n_samples=3)(x)
    assert [m.training for m in network.modules()] == modes
    assert [set(m.__dict__) for m in network.modules()] == keys
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_seed_repeats_the_samples_and_another_does_not(case: tuple[nn.Module, Tensor]) -> None:
    network, x = case
    first = sampler(network, n_samples=4, seed=5)(x)
    torch.manual_seed(99)
    assert torch.equal(sampler(network, n_samples=4, seed=5)(x), first)
    assert not torch.equal(sampler(network, n_samples=4, seed=6)(x), first)
    close(sampler(network, n_samples=2, seed=5)(x), first[:, :2])


def test_modes_are_restored_after_an_error() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("broken")

    network = nn.Sequential(nn.Linear(3, 3), nn.Dropout(), Fails()).train()
    with pytest.raises(RuntimeError, match="broken"):
        MonteCarloDropout(network)(torch.ones(2, 3))
    assert all(m.training for m in network.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_the_prefix_runs_once_and_what_follows_each_time() -> None:
    class Counts(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x

    inside, before, after = Counts(), Counts(), Counts()
    network = nn.Sequential(nn.Sequential(inside, nn.Linear(4, 4)), before, nn.Dropout(), after)
    MonteCarloDropout(network, 9, samples_per_pass=1)(torch.ones(2, 4))
    assert (inside.calls, before.calls, after.calls) == (2, 2, 10), "one pass more, over one input, to look at"
    MonteCarloDropout(network, 9, samples_per_pass=4)(torch.ones(2, 4))
    assert (inside.calls, before.calls, after.calls) == (4, 4, 14), "one sample alone, then four and four together"


@pytest.mark.parametrize("network", [nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.0))])
def test_a_network_without_dropout_is_refused(network: nn.Module) -> None:
    with pytest.raises(UserError, match=r"(?s)without dropout.*model\.dropout"):
        MonteCarloDropout(network)


def test_no_samples_are_refused() -> None:
    with pytest.raises(UserError, match="n_samples = 0"):
        MonteCarloDropout(nn.Dropout(), 0)


@pytest.mark.parametrize(
    "kind", [nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout]
)
def test_each_kind_has_the_moments_of_torchs_own(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    dropout = kind(0.3)
    x = (
        torch.tensor([[1.0, -0.5, 2.0]])
        .reshape(1, 3, 1, 1, 1)
        .expand(1, 3, 2, 2, 2)[..., : 1 if kind is nn.Dropout2d else 2]
    )
    x = x[..., 0] if kind is nn.Dropout2d else x.reshape(1, 3, 8) if kind is nn.Dropout1d else x
    mine = MonteCarloDropout(dropout, 4000)(x)[0]
    theirs = torch.stack([dropout.train()(x)[0] for _ in range(4000)])
    torch.testing.assert_close(mine.mean(0), theirs.mean(0), atol=0.12, rtol=0)
    torch.testing.assert_close(mine.var(0), theirs.var(0), atol=0.2, rtol=0.15)
    channel = mine.flatten(2)  # [K, C, elements]: do all elements of a channel fall together?
    together = bool((channel == channel[..., :1]).all())
    assert together == (kind not in (nn.Dropout, nn.AlphaDropout))


def test_an_input_is_dropped_as_a_whole_only_at_probability_one() -> None:
    assert not MonteCarloDropout(nn.Dropout(1.0), 3)(torch.ones(2, 4)).any()


@pytest.mark.parametrize("together", [2, 5, 50])
def test_samples_drawn_together_are_those_drawn_alone(case: tuple[nn.Module, Tensor], together: int) -> None:
    network, x = case
    alone = sampler(network, n_samples=7, seed=1, samples_per_pass=1)
    several = sampler(network, n_samples=7, seed=1, samples_per_pass=together)
    for _ in range(2):  # the second time with the masks of the first
        close(several(x.clone()), alone(x.clone()))
    assert several.together


def test_the_mask_is_the_documented_function_of_seed_and_sample() -> None:
    samples = MonteCarloDropout(nn.Dropout(0.4), 6, seed=11, samples_per_pass=4)(torch.ones(3, 9))
    for k in range(6):
        digest = hashlib.sha256(f"11/{k}/0/1".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        keep = torch.rand((1, 9), generator=generator) >= 0.4
        torch.testing.assert_close(samples[:, k], (keep / 0.6).float().expand(3, 9))


class Stubborn(nn.Module):
    """Looks at its values, which `torch.vmap` cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(x)
        return x if float(x.sum()) > 1e9 else 2 * x


class Capricious(nn.Module):
    """Calls its dropout once more from the third pass on."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.drop(x) if self.passes <= 2 else self.drop(self.drop(x))


@pytest.mark.parametrize("kind", [Stubborn, Capricious])
def test_a_network_that_cannot_be_drawn_together_is_drawn_alone(kind: type[nn.Module]) -> None:
    x = torch.randn(4, 6)
    several, alone = MonteCarloDropout(kind(), 9), MonteCarloDropout(kind(), 9, samples_per_pass=1)
    torch.testing.assert_close(several(x), alone(x))
    assert not several.together


class Hungry(nn.Module):
    """Has memory for so many numbers after its dropout, over all samples of a pass."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.room = room
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        dropped = self.drop(x)
        physical = torch._C._functorch.get_unwrapped(dropped) if _is_batched(dropped) else dropped
        self.sizes.append(physical.numel())
        if physical.numel() > self.room:
            raise torch.OutOfMemoryError("out of memory, as a device says it")
        return dropped


def _is_batched(x: Tensor) -> bool:
    return bool(torch._C._functorch.is_batchedtensor(x))


@pytest.mark.parametrize(("room", "largest"), [(96, 96), (40, 24), (24, 24), (13, 12), (6, 6)])
def test_passes_and_batches_shrink_until_memory_holds_them(room: int, largest: int) -> None:
    x = torch.randn(4, 6)  # 24 numbers a sample
    hungry = Hungry(room)
    draw = MonteCarloDropout(hungry, 9, seed=3)
    expected = MonteCarloDropout(Hungry(10**9), 9, seed=3)(x)
    torch.testing.assert_close(draw(x), expected)
    assert max(size for size in hungry.sizes if size <= room) == largest
    hungry.sizes.clear()
    torch.testing.assert_close(draw(x), expected)
    assert max(hungry.sizes) <= room, "what did not fit once is not tried again"


def test_a_device_that_cannot_hold_one_input_says_so() -> None:
    network = Hungry(5).train()
    with pytest.raises(torch.OutOfMemoryError):
        MonteCarloDropout(network, 3)(torch.randn(4, 6))
    assert network.training
    assert network.drop.training


@pytest.mark.parametrize("reuse", [True, False])
def test_samples_under_bfloat16_autocast_are_those_of_32_bits_rounded(reuse: bool) -> None:
    torch.manual_seed(0)
    network, x = SiameseKneeNet(width=4), torch.randn(3, 2, 16, 16)

    def samples(together: int | None) -> torch.Tensor:
        sampler = MonteCarloDropout(
            network, 6, output=lambda output: output.logits, reuse_prefix=reuse, samples_per_pass=together
        )
        with torch.autocast("cpu", torch.bfloat16):
            return sampler(x)

    together, alone = samples(5), samples(1)
    assert together.dtype == alone.dtype == torch.bfloat16
    exact = MonteCarloDropout(network, 6, output=lambda output: output.logits)(x)
    spread = float(exact.std(dim=1).mean())
    # The same masks: far closer to each other, and to 32 bits, than two samples are.
    assert float((together - alone).abs().max()) < 0.1 * spread
    assert float((together - exact).abs().mean()) < 0.1 * spread


@pytest.mark.parametrize("dropout", [nn.Dropout, nn.Dropout2d])
def test_masks_do_not_depend_on_the_order_of_maps_in_memory(dropout: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Identity(), dropout(0.4))
    x = torch.randn(3, 4, 6, 5) + 5
    expected = MonteCarloDropout(network, 5, seed=2)(x)
    assert torch.equal(MonteCarloDropout(network, 5, seed=2)(x.to(memory_format=torch.channels_last)), expected)
