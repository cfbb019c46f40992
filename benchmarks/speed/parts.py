"""What the sections measure with: a size, patches, networks, a runner."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alone import Alone
from timing import Candidate
from torch import Tensor, nn

from kneeal.data.source import PatchSource
from kneeal.data.splits import Validation
from kneeal.data.views import Views
from kneeal.nn.network import SiameseKneeNet
from kneeal.nn.ssl.consistency import Consistency
from kneeal.training.learner import Learner, Mode
from kneeal.training.lightning_runner import LightningRunner


@dataclass(frozen=True)
class Setting:
    """One size of the problem on one device."""

    device: torch.device
    size: int = 32
    width: int = 8
    n_knees: int = 256
    n_samples: int = 50
    batch: int = 64
    dropout: float = 0.1
    rounds: int = 3
    seconds: float = 60.0

    def __str__(self) -> str:
        precision = ", bf16-mixed" if self.bf16 else ""
        return f"{self.size} px, width {self.width}{precision}"

    @property
    def bf16(self) -> bool:
        """Whether networks run under bfloat16 autocast: on GPUs."""
        return self.device.type == "cuda"

    def autocast(self) -> torch.autocast:
        """The precision of everything measured."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Names of the knees."""
        return tuple(f"{k:07d}_L" for k in range(self.n_knees))

    @cached_property
    def patches(self) -> np.ndarray:
        """Random patches; what is in them changes no time."""
        return np.random.default_rng(0).integers(0, 256, (self.n_knees, 2, self.size, self.size), dtype=np.uint8)

    def source(self) -> PatchSource:
        """The knees and their views as the runner takes them."""
        rows = {name: k for k, name in enumerate(self.ids)}
        return PatchSource(self.patches, rows, Views(self.size))

    def images(self) -> Tensor:
        """All knees as the network takes them, on the device."""
        return torch.from_numpy(self.patches).to(self.device).float().mul_(2 / 255).sub_(1.0)

    def network(self) -> SiameseKneeNet:
        """A new network on the CPU."""
        return SiameseKneeNet(width=self.width, dropout=self.dropout)

    def learner(self, network: nn.Module, compile_mode: Mode | None = None) -> Learner:
        """Equation (1) with Adam."""
        return Learner(network, method=Consistency(), compile_mode=compile_mode)

    def runner(self, *, epochs: int = 1) -> LightningRunner:
        """The runner of `kneeal fit`."""
        return LightningRunner(
            make_network=self.network,
            make_learner=lambda network, grades: self.learner(network),
            knees=self.source(),
            validation=Validation({name: k % 5 for k, name in enumerate(self.ids[:32])}),
            test_knees={},
            accelerator="gpu" if self.bf16 else "cpu",
            precision="bf16-mixed" if self.bf16 else "32-true",
            epochs=epochs,
            batch_size=min(32, self.n_knees),
            eval_batch_size=self.batch,
            validate_every=epochs,
        )

    def checkpoint(self, network: nn.Module) -> Path:
        """A file with the weights of a network."""
        path = Path(tempfile.mkdtemp(prefix="kneeal-bench-")) / "best.ckpt"
        torch.save({"state_dict": {f"network.{n}": w for n, w in network.state_dict().items()}}, path)
        return path

    def smaller(self) -> Setting:
        """As small as it can be, to try the benchmark itself."""
        return replace(self, size=16, width=2, n_knees=12, n_samples=4, batch=6, rounds=1, seconds=1.0)


def as_the_runner_does() -> None:
    """Torch's deterministic mode, as in the runner, for what is measured without it."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False


#: What `as_written` measures, in the table.
AS_WRITTEN = ", network of torch's layers, on a CPU in a process of its own"


def as_written(stack: ExitStack, make: Callable[..., Candidate], *arguments: Any) -> Candidate:
    """A candidate as one has it without kneeal: on a CPU in a process that does not keep freed memory.

    Args:
        stack: Ends the process.
        make: A function of a module that makes the candidate.
        arguments: What it is given, a setting first.

    Raises:
        RuntimeError: It cannot be made.
    """
    if arguments[0].bf16:
        return make(*arguments)
    candidate = Alone(make, *arguments)
    stack.callback(candidate.end)
    candidate.wait()
    return candidate


def plainly_written(network: SiameseKneeNet) -> SiameseKneeNet:
    """The same network of torch's own layers in torch's own memory format, as one would write it."""
    network._own = False  # no channels-last
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.InstanceNorm2d):
                setattr(module, name, nn.InstanceNorm2d(child.num_features))
            elif isinstance(child, nn.Dropout):
                setattr(module, name, nn.Dropout(child.p))
    return network
