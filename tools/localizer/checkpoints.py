"""Networks of the localizer as files: while they are trained, and as they ship (half precision, no pickle)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn

from kneeal.files import atomic_file
from kneeal.localizer.networks import NAMES, CoarseNetwork, FineNetwork, MarkerNetwork, MetalNetwork, fill_networks

_KINDS: dict[str, type[nn.Module]] = dict(
    zip(NAMES, (CoarseNetwork, FineNetwork, MarkerNetwork, MetalNetwork), strict=True)
)


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


def read_networks(path: Path | None = None, names: tuple[str, ...] = NAMES) -> dict[str, nn.Module]:
    """Networks as they were trained, in evaluation mode.

    Args:
        path: Weights that `save_networks` wrote; by default those that ship with the package.
        names: Which networks; the first word of a name is its kind.
    """
    networks = {name: _KINDS[name.split("-")[0]]() for name in names}
    fill_networks(networks, path)
    return networks
