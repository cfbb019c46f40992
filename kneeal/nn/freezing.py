"""The part of a branch that is not trained, and the part after it that is."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kneeal.errors import UserError
from kneeal.nn.backbones import Backbone

#: Default side in px of the patches on which a cut is tried.
_SIDE = 64
#: Patches that a CPU encodes at once.
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
        single = patches.reshape(-1, 1, *patches.shape[2:])
        if single.device.type == "cpu":
            # In channels-last strides, and in parts whose activations stay in the processor's cache: twice as fast.
            single = patches.reshape(-1, *patches.shape[2:], 1).permute(0, 3, 1, 2)
            result = torch.cat([self._until_end(part) for part in torch.split(single, _CPU_PART)])
        else:
            result = self._until_end(single)
        return result.contiguous().view(len(patches), 2, *result.shape[1:])

    def _until_end(self, patches: Tensor) -> Tensor:
        if self._end is None:
            whole: Tensor = self.branch(patches)
            return whole

        def stop(module: nn.Module, inputs: Any, output: Tensor) -> None:
            raise _ReachedError(output)

        handle = self._end.register_forward_hook(stop)
        try:
            self.branch(patches)
        except _ReachedError as reached:
            return reached.output
        finally:
            handle.remove()
        raise RuntimeError(f"the branch never called {self.stage}")

    def checksum(self) -> str:
        """SHA-256 of what decides the activations: the layers, their weights and the stage."""
        digest = hashlib.sha256(f"{self.branch}\n{self.stage}".encode())
        for name, weight in self.branch.state_dict().items():
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
            digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def __deepcopy__(self, memo: Mapping[int, Any]) -> FrozenEncoder:
        """The same object: what never changes is shared."""
        return self


class _ReachedError(Exception):
    """Carries the output of the last frozen module out of the branch."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


class _Tail(nn.Module):
    """The part of a branch after the frozen one; its weights keep their names in the branch.

    Args:
        branch: A copy of the whole branch.
        frozen: Names of the modules that are frozen, outermost ones only.
    """

    def __init__(self, branch: nn.Module, frozen: list[str]) -> None:
        super().__init__()
        for name in frozen:
            parent, _, last = name.rpartition(".")
            setattr(branch.get_submodule(parent), last, nn.Identity())
        self._model = isinstance(branch, Backbone)
        for name, child in branch.named_children():
            self.add_module(name, child)

    def forward(self, activations: Tensor) -> Tensor:
        """The features [N, F] of activations [N, ...]."""
        if self._model:
            features: Tensor = self.get_submodule("model")(activations)
            return features
        for child in self.children():
            activations = child(activations)
        return activations


def cut(branch: nn.Module, stage: str, *, side: int = _SIDE) -> tuple[FrozenEncoder, nn.Module]:
    """Cut a branch after one of its modules.

    Args:
        branch: From patches [N, 1, H, H] to features [N, F].
        stage: Name of the last module that is frozen, "all" for the whole branch.
        side: H, for patches to try the cut on.

    Returns:
        The encoder, and the module that computes the features [N, F] of its activations [N, ...].

    Raises:
        UserError: There is no such module, or the rest of the branch needs more than its output.
    """
    if stage == ALL:
        return FrozenEncoder(branch), nn.Identity()
    end = _module(branch, stage)
    names = {module: name for name, module in branch.named_modules()}
    finished: list[str] = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        finished.append(names[module])
        if module is end:
            raise _ReachedError(output)

    tail_of = copy.deepcopy(branch)
    handles = [module.register_forward_hook(note) for module in names if module is not branch]
    patches = torch.linspace(-1, 1, 2 * side * side).view(2, 1, side, side)
    branch.eval()
    try:
        with torch.no_grad():
            branch(patches)
    except _ReachedError:
        pass
    finally:
        for handle in handles:
            handle.remove()
    frozen = [name for name in finished if not any(name.startswith(f"{other}.") for other in finished)]
    encoder, tail = FrozenEncoder(branch, stage), _Tail(tail_of, frozen)
    if not _fits(encoder, tail.eval(), patches):
        raise UserError(
            f"model.freeze = {stage!r}, after which the branch cannot be cut",
            f"{NONE}, {ALL}, or a module whose output is all that the rest needs",
            f"try one of: {', '.join(_stages(branch))}",
        )
    return encoder, tail.train()


@torch.no_grad()
def _fits(encoder: FrozenEncoder, tail: nn.Module, patches: Tensor) -> bool:
    """Whether encoder and tail compute what the whole branch does."""
    try:
        activations = encoder._until_end(patches)
        version = activations._version
        features = tail(activations)
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError):
        return False
    # A tail that changes its input in place would spoil it for the next Monte-Carlo pass.
    same = activations._version == version
    return same and torch.allclose(features, encoder.branch(patches), rtol=1e-3, atol=1e-5)


def _module(branch: nn.Module, stage: str) -> nn.Module:
    place = stage
    if isinstance(branch, Backbone):
        place = f"model.{stage}"
    elif stage.removeprefix("group") in ("1", "2", "3"):
        place = str(2 * (int(stage[-1]) - 1))  # each group of the paper's branch is followed by its dropout
    try:
        return branch.get_submodule(place)
    except AttributeError as error:
        raise UserError(
            f"model.freeze = {stage!r}, which the backbone does not have",
            f"{NONE}, {ALL}, or the name of a module",
            f"use one of: {', '.join(_stages(branch))}",
        ) from error


def _stages(branch: nn.Module) -> list[str]:
    """Names of modules after which a branch may be cut: its parts, and the parts of those that are chains."""
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
