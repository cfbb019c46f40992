"""The part of a branch that is not trained, and the part after it that is."""

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kneeal.errors import UserError
from kneeal.nn.backbones import Backbone, nearest_side

#: Side in px of the patches on which a cut is tried, or the nearest that the backbone takes.
_SIDE = 64
#: Patches that each thread of a CPU encodes at once.
_CPU_PART = 16
#: Values of `model.freeze` besides the name of a stage.
NONE, ALL = "none", "all"


class FrozenEncoder:
    """The frozen beginning of a branch: in evaluation mode, without gradients and without dropout.

    It is not a module of the network that uses it, so no checkpoint, optimizer or copy of that network contains it.

    Args:
        branch: From patches [N, 1, H, H] to features [N, F], with its final weights.
        stage: Name of the last module that is frozen; None freezes the whole branch.
    """

    def __init__(self, branch: nn.Module, stage: str | None = None) -> None:
        self.branch = branch.eval().requires_grad_(False)
        self.stage = stage
        self._end = None if stage is None else _module(branch, stage)
        self._device: torch.device | None = None

    @torch.no_grad()
    def __call__(self, patches: Tensor) -> Tensor:
        """The activations [N, 2, ...] of patch pairs [N, 2, H, H] in [-1, 1]."""
        if self._device != patches.device:
            # Channels-last strides, in which convolutions without gradients are faster on every device.
            self.branch.to(patches.device).to(memory_format=torch.channels_last)
            self._device = patches.device
        n, on_cpu = len(patches), patches.device.type == "cpu"
        if on_cpu:
            # Few patches are convolved by other code, which rounds otherwise: no part is smaller than a whole one.
            patches = F.pad(patches, (0,) * 6 + (0, -n % (_CPU_PART // 2)))
        single = one_by_one(patches, channels_last=on_cpu)
        # On a CPU in parts whose activations stay in the processor's cache, twice as fast.
        parts = torch.split(single, _CPU_PART * torch.get_num_threads()) if on_cpu else (single,)
        result = torch.cat([self.until_end(part) for part in parts])[: 2 * n]
        return result.contiguous().view(n, 2, *result.shape[1:])

    def until_end(self, patches: Tensor) -> Tensor:
        """The activations [N, ...] of single patches [N, 1, H, H]."""
        if self._end is None:
            whole: Tensor = self.branch(patches)
            return whole

        def stop(module: nn.Module, inputs: Any, output: Tensor) -> None:
            raise _ReachedError(output)

        try:
            with self._end.register_forward_hook(stop):
                self.branch(patches)
        except _ReachedError as reached:
            output: Tensor = reached.args[0]
            return output
        raise RuntimeError(f"the branch never called {self.stage}")

    def checksum(self) -> str:
        """SHA-256 of what decides the activations: the layers, their weights and the stage."""
        digest = hashlib.sha256(f"{self.branch}\n{self.stage}".encode())
        for name, weight in self.branch.state_dict().items():
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
            digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def __deepcopy__(self, memo: Mapping[int, Any]) -> Self:
        """The same object: what never changes is shared."""
        return self


class _ReachedError(Exception):
    """Carries the output of the last frozen module out of the branch."""


def one_by_one(patches: Tensor, *, channels_last: bool) -> Tensor:
    """The patches of N knees [N, 2, H, H] as a batch [2 N, 1, H, H], in the strides that are asked for."""
    if channels_last:
        return patches.reshape(-1, *patches.shape[2:], 1).permute(0, 3, 1, 2)
    return patches.reshape(-1, 1, *patches.shape[2:])


def cut(branch: nn.Module, stage: str) -> tuple[FrozenEncoder, nn.Module]:
    """Cut a branch after one of its modules.

    Args:
        branch: From patches [N, 1, H, H] to features [N, F].
        stage: Name of the last module that is frozen, "all" for the whole branch.

    Returns:
        The encoder, and the module that computes the features [N, F] of its activations [N, ...]; its weights keep
        their names in the branch.

    Raises:
        UserError: There is no such module, or the rest of the branch needs more than its output.
    """
    if stage == ALL:
        return FrozenEncoder(branch), nn.Identity()
    parts = _cut(branch, stage)
    if parts is None:
        raise UserError(
            f"model.freeze = {stage!r}, after which the backbone cannot be cut",
            f"{NONE}, {ALL}, or a module whose output is all that the rest needs",
            f"use one of: {', '.join([ALL, *(other for other in _stages(branch) if _cut(branch, other))])}",
        )
    return parts


@torch.no_grad()
def _cut(branch: nn.Module, stage: str) -> tuple[FrozenEncoder, nn.Module] | None:
    """The two parts; None if they do not compute what the whole does, or there is no such module."""
    rest = copy.deepcopy(branch)
    side = (nearest_side(branch, _SIDE) if isinstance(branch, Backbone) else None) or _SIDE
    patches = torch.linspace(-1, 1, 2 * side * side).view(2, 1, side, side)
    try:
        encoder = FrozenEncoder(branch, stage)
        names = {module: name for name, module in branch.named_modules() if name}
        finished: list[str] = []
        with ExitStack() as hooks:
            for module in names:
                hooks.enter_context(module.register_forward_hook(lambda m, inputs, output: finished.append(names[m])))
            activations = encoder.until_end(patches)
        for name in (n for n in finished if not any(n.startswith(f"{other}.") for other in finished)):
            parent, _, last = name.rpartition(".")
            setattr(rest.get_submodule(parent), last, nn.Identity())
        tail = nn.Sequential(OrderedDict(rest.named_children())).eval()
        version = activations._version
        features = tail(activations)
    except Exception:  # each network raises its own
        return None
    # A tail that changes its input in place would spoil it for the next Monte-Carlo pass.
    same = activations._version == version and torch.allclose(features, branch(patches), rtol=1e-3, atol=1e-5)
    return (encoder, tail.train()) if same else None


def _module(branch: nn.Module, stage: str) -> nn.Module:
    if isinstance(branch, Backbone):
        stage = f"model.{stage}"
    elif stage.removeprefix("group") in ("1", "2", "3"):
        stage = str(2 * (int(stage[-1]) - 1))  # each group of the paper's branch is followed by its dropout
    return branch.get_submodule(stage)


def _stages(branch: nn.Module) -> list[str]:
    """Names of modules to try: the parts of a branch, and the parts of those that are chains."""
    if not isinstance(branch, Backbone):
        return ["group1", "group2", "group3"]
    found: list[str] = []
    for name, child in branch.model.named_children():
        inner = [f"{name}.{part}" for part, _ in child.named_children()] if isinstance(child, nn.Sequential) else []
        found += inner if len(inner) > 1 else [name]
    return found[:24]


class Standardize(nn.Module):
    """Subtract the mean of each feature and divide by its standard deviation, both measured once.

    The result is divided by the square root of the number of features as well, so that a feature vector has a mean
    square length of 1 whatever the backbone, and learning rates and weight decay mean the same for all.

    Args:
        n_features: Features F of a knee.
    """

    mean: Tensor
    factor: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("factor", torch.full((n_features,), n_features**-0.5))

    def fit(self, features: Tensor) -> None:
        """Measure mean and standard deviation of features [M, F]; a feature that is constant becomes 0."""
        deviation = features.std(dim=0, correction=0)
        informative = deviation > 1e-6 * deviation.max()
        self.mean.copy_(features.mean(dim=0))
        self.factor.copy_(torch.where(informative, 1 / deviation, 0.0) * len(deviation) ** -0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Standardized features [N, F]."""
        return (features - self.mean) * self.factor
