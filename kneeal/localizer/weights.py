"""The localizer's weights: arrays in a .npz beside this module, half precision, no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import IO, cast

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kneeal.errors import UserError
from kneeal.files import atomic_file
from kneeal.localizer import WEIGHTS
from kneeal.localizer.networks import CoarseNetwork, FineNetwork, MarkerNetwork

#: The networks, in the order in which functions give them.
NAMES = ("coarse", "fine", "marker")


def save_networks(path: Path, networks: Mapping[str, nn.Module]) -> None:
    """Write the weights of networks by name."""
    arrays = {
        f"{name}/{key}": value.detach().cpu().numpy().astype(np.float16 if value.is_floating_point() else np.int64)
        for name, network in networks.items()
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_networks(path: Path | None = None) -> tuple[CoarseNetwork, FineNetwork, MarkerNetwork]:
    """The networks, ready to predict: in evaluation mode, their normalization folded into the convolutions.

    Args:
        path: Weights that ``kneeal.localizer.training.train`` wrote; by default those that ship with the package.

    Raises:
        UserError: They are no such weights.
    """
    networks = read_networks(path)
    for network in networks:
        _fuse(network)
    return networks


def read_networks(path: Path | None = None) -> tuple[CoarseNetwork, FineNetwork, MarkerNetwork]:
    """The same as they were trained, in evaluation mode."""
    networks = (CoarseNetwork(), FineNetwork(), MarkerNetwork())
    _read(path, dict(zip(NAMES, networks, strict=True)))
    return networks


def read_network(path: Path, name: str) -> nn.Module:
    """One network that `save_networks` wrote under a name whose first word is that of its kind."""
    kinds: dict[str, type[nn.Module]] = dict(zip(NAMES, (CoarseNetwork, FineNetwork, MarkerNetwork), strict=True))
    network = kinds[name.split("-")[0]]()
    _read(path, {name: network})
    return network


def _read(path: Path | None, networks: Mapping[str, nn.Module]) -> None:
    try:
        with (path or files("kneeal.localizer").joinpath(WEIGHTS)).open("rb") as file:
            _fill(file, networks)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"the localizer's weights {path or WEIGHTS} cannot be read ({error})",
            "weights written by `python -m kneeal.localizer.training.train`",
            "give other weights, or install the package again",
        ) from error
    for network in networks.values():
        network.eval()


def _fuse(network: nn.Module) -> None:
    """Fold each normalization into the convolution before it: the same function in half the passes over memory."""
    for part in network.modules():
        if isinstance(part, nn.Sequential) and len(part) == 3 and isinstance(part[1], nn.BatchNorm2d):
            part[0] = fuse_conv_bn_eval(cast(nn.Conv2d, part[0]), part[1])
            part[1] = nn.Identity()
    network.to(memory_format=torch.channels_last)


def _fill(file: IO[bytes], networks: Mapping[str, nn.Module]) -> None:
    with np.load(file, allow_pickle=False) as arrays:
        for name, network in networks.items():
            state = network.state_dict()
            for key in state:
                if not key.endswith("num_batches_tracked"):
                    state[key] = torch.from_numpy(np.asarray(arrays[f"{name}/{key}"], np.float32))
            network.load_state_dict(state)
