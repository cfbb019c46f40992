"""Several small networks on one machine: one after another, at once in threads, or stacked in one vectorized step."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import torch
from parts import Setting
from timing import Candidate, Row, ratio, take_turns
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state
from torch.nn import functional as F


def rows(s: Setting, *, n_networks: int = 4, steps: int = 3) -> list[Row]:
    """Training steps of several networks, each with batches of its own."""
    networks = [s.network().to(s.device).train() for _ in range(n_networks)]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n_networks, 64, 2, s.size, s.size, generator=generator).to(s.device)
    kl = torch.randint(5, (n_networks, 64), generator=generator).to(s.device)
    optimizers = [torch.optim.Adam(network.parameters(), lr=1e-3) for network in networks]

    def train(k: int) -> None:
        stream = torch.cuda.Stream(s.device) if s.bf16 else None
        with torch.cuda.stream(stream):
            for _ in range(steps):
                optimizers[k].zero_grad()
                with s.autocast():
                    loss = F.cross_entropy(networks[k](x[k]).logits.float(), kl[k])
                loss.backward()
                optimizers[k].step()

    def one_after_another() -> None:
        for k in range(n_networks):
            train(k)

    def at_once() -> None:
        with ThreadPoolExecutor(n_networks) as threads:
            list(threads.map(train, range(n_networks)))

    candidates: dict[str, Candidate] = {
        "one after another": one_after_another,
        f"{n_networks} threads" + (", a stream each" if s.bf16 else ""): at_once,
        "stacked by torch.vmap": _stacked(s, networks, x, kl, steps),
    }
    best = take_turns(candidates, rounds=s.rounds, seconds=s.seconds)
    first = best["one after another"]
    done = n_networks * steps
    return [
        Row(
            f"training steps of {n_networks} networks, {s}, 64 views per batch, {name}",
            f"{done / turn.clock:.1f} steps/s",
            f"one after another: {done / first.clock:.1f} steps/s",
            ratio(turn, first),
        )
        for name, turn in best.items()
        if name != "one after another"
    ]


def _stacked(s: Setting, networks: list[nn.Module], x: Tensor, kl: Tensor, steps: int) -> Candidate:
    frame = copy.deepcopy(networks[0])
    # In-place activations write to tensors that torch.vmap may have not made its own.
    for module in frame.modules():
        if isinstance(module, nn.LeakyReLU):
            module.inplace = False
    weights, buffers = stack_module_state(networks)
    weights = {name: nn.Parameter(w.detach()) for name, w in weights.items()}
    optimizer = torch.optim.Adam(weights.values(), lr=1e-3)

    def loss(w: dict[str, Tensor], b: dict[str, Tensor], x: Tensor, kl: Tensor) -> Tensor:
        with s.autocast():
            return F.cross_entropy(functional_call(frame, (w, b), (x,)).logits.float(), kl)

    gradient = torch.vmap(grad(loss), randomness="different")

    def train() -> None:
        for _ in range(steps):
            for name, g in gradient(dict(weights), buffers, x, kl).items():
                weights[name].grad = g
            optimizer.step()

    return train
