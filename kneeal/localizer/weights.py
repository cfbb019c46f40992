"""The localizer's weights: arrays in a .npz beside this module, half precision, no pickle."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kneeal.errors import UserError
from kneeal.localizer import WEIGHTS
from kneeal.localizer.networks import CoarseNetwork, FineNetwork, MarkerNetwork

#: The networks, in the order in which functions give them.
NAMES = ("coarse", "fine", "marker")


def load_networks(path: Path | None = None) -> tuple[CoarseNetwork, FineNetwork, MarkerNetwork]:
    """The networks, ready to predict: in evaluation mode, their normalization folded into the convolutions."""
    networks = (CoarseNetwork(), FineNetwork(), MarkerNetwork())
    fill_networks(dict(zip(NAMES, networks, strict=True)), path)
    for network in networks:
        _fuse(network)
    return networks


def fill_networks(networks: Mapping[str, nn.Module], path: Path | None = None) -> None:
    """Give networks the weights that a file has under their names, and put them into evaluation mode."""
    try:
        with (path or files("kneeal.localizer").joinpath(WEIGHTS)).open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            for name, network in networks.items():
                state = network.state_dict()
                for key in state:
                    if not key.endswith("num_batches_tracked"):
                        state[key] = torch.from_numpy(np.asarray(arrays[f"{name}/{key}"], np.float32))
                network.eval().load_state_dict(state)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"the localizer's weights {path or WEIGHTS} cannot be read ({error})",
            "weights as tools/localizer writes them",
            "give other weights, or install the package again",
        ) from error


def _fuse(network: nn.Module) -> None:
    """Fold each normalization into the convolution before it: the same function in half the passes over memory."""
    for part in network.modules():
        if isinstance(part, nn.Sequential) and len(part) == 3 and isinstance(part[1], nn.BatchNorm2d):
            part[0] = fuse_conv_bn_eval(cast(nn.Conv2d, part[0]), part[1])
            part[1] = nn.Identity()
    network.to(memory_format=torch.channels_last)
