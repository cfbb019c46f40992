"""The four small networks of the localizer, and their weights: arrays in a .npz beside this module, without pickle."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import chain, pairwise
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kneeal.errors import readable
from kneeal.localizer import WEIGHTS

#: Pixel size of the coarse network's input, and of its maps, in mm.
COARSE_MM, COARSE_STRIDE = 8 / 3, 2
#: Side in px and pixel size in mm of the fine network's window.
FINE_PX, FINE_MM = 96, 5 / 3
#: Side in px and pixel size in mm of the marker network's window.
MARKER_PX, MARKER_MM = 48, 0.8
#: Side in px of the window of the metal network, whose pixels are those of the marker network's.
METAL_PX = 96
#: Maps of the coarse network.
KNEE_MAP, MARKER_MAP = 0, 1
#: Classes of the fine network.
NATURAL, REPLACED, NO_KNEE = 0, 1, 2
#: Classes of the marker network.
MARKER_CLASSES = ("R", "L", "mirrored", "")
#: The networks, in the order in which functions give them.
NAMES = ("coarse", "fine", "marker", "metal")


def _layer(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    )


def _halving(channels: int, out: int) -> tuple[nn.Module, nn.Module]:
    return _layer(channels, out, stride=2), _layer(out, out)


class _Pyramid(nn.Module):
    """An encoder that halves the picture at each level, and a decoder that comes back to half its size."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Sequential(*_halving(above, below)) for above, below in pairwise((1, *widths)))
        self.up = nn.ModuleList(
            _layer(below + above, above) for below, above in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, W0, H/2, W/2] and [B, Wn, H/2^n, W/2^n] of pictures [B, 1, H, W]."""
        levels = []
        for step in self.down:
            x = step(x)
            levels.append(x)
        deep = x
        for step, level in zip(self.up, levels[-2::-1], strict=True):
            x = nn.functional.interpolate(x, size=level.shape[-2:], mode="nearest")
            x = step(torch.cat([x, level], dim=1))
        return x, deep


class CoarseNetwork(nn.Module):
    """Where on the radiograph a knee or a side marker is.

    Pictures [B, 1, H, W] at 2.67 mm a pixel, 0 to 1, give logits [B, 2, H/2, W/2]: knees, markers.
    """

    def __init__(self, widths: Sequence[int] = (8, 16, 32, 48, 48), maps: int = 2) -> None:
        super().__init__()
        self.pyramid = _Pyramid(widths)
        self.maps = nn.Conv2d(widths[0], maps, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the maps."""
        features, _ = self.pyramid(x)
        maps: Tensor = self.maps(features)
        return maps


class MetalNetwork(CoarseNetwork):
    """Where in a knee there is metal: pictures [B, 1, 96, 96] at 0.8 mm a pixel, 0 to 1, give logits [B, 1, 48, 48]."""

    def __init__(self) -> None:
        super().__init__((8, 16, 32, 48), maps=1)


class FineNetwork(nn.Module):
    """The two edges of the tibial plateau in a window around a knee, and whether there is a knee at all.

    Pictures [B, 1, 96, 96] at 1.67 mm a pixel, 0 to 1. Gives the logits of two maps [B, 2, 48, 48] (edge on the
    left, edge on the right of the picture) and of three classes [B, 3].
    """

    def __init__(self, widths: Sequence[int] = (12, 24, 40, 56, 64)) -> None:
        super().__init__()
        self.pyramid = _Pyramid(widths)
        self.maps = nn.Conv2d(widths[0], 2, 1)
        self.kind = nn.Sequential(nn.Linear(2 * widths[-1], 32), nn.ReLU(inplace=True), nn.Linear(32, 3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the maps and of the classes."""
        features, deep = self.pyramid(x)
        pooled = torch.cat([deep.mean(dim=(2, 3)), deep.amax(dim=(2, 3))], dim=1)
        return self.maps(features), self.kind(pooled)


class MarkerNetwork(nn.Module):
    """Which letter a side marker is: pictures [B, 1, 48, 48] at 0.8 mm a pixel, 0 to 1, give logits [B, 4]."""

    def __init__(self, widths: Sequence[int] = (16, 32, 48)) -> None:
        super().__init__()
        steps = (_halving(above, below) for above, below in pairwise((1, *widths)))
        self.features = nn.Sequential(*chain.from_iterable(steps))
        self.kind = nn.Linear(widths[-1] * 36, len(MARKER_CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the classes `MARKER_CLASSES`."""
        kind: Tensor = self.kind(self.features(x).flatten(1))
        return kind


def map_points(maps: Tensor) -> Tensor:
    """Where the logits [B, 2, 48, 48] of the fine network point: the mean of their softmax.

    Returns:
        Points [B, 2, 2], (x, y) in mm from the center of the window.
    """
    height, width = maps.shape[-2:]
    step = FINE_MM * 2
    x = (torch.arange(width, device=maps.device) - (width - 1) / 2) * step
    y = (torch.arange(height, device=maps.device) - (height - 1) / 2) * step
    probability = maps.flatten(2).softmax(-1).view(maps.shape)
    return torch.stack([(probability.sum(2) * x).sum(-1), (probability.sum(3) * y).sum(-1)], dim=-1)


def load_networks(path: Path | None = None) -> tuple[CoarseNetwork, FineNetwork, MarkerNetwork, MetalNetwork]:
    """The networks, ready to predict: in evaluation mode, their normalization folded into the convolutions."""
    networks = (CoarseNetwork(), FineNetwork(), MarkerNetwork(), MetalNetwork())
    fill_networks(dict(zip(NAMES, networks, strict=True)), path)
    for network in networks:
        for part in network.modules():
            if isinstance(part, nn.Sequential) and len(part) == 3 and isinstance(part[1], nn.BatchNorm2d):
                part[0] = fuse_conv_bn_eval(cast(nn.Conv2d, part[0]), part[1])  # half the passes over memory
                part[1] = nn.Identity()
        network.to(memory_format=torch.channels_last)
    return networks


def fill_networks(networks: Mapping[str, nn.Module], path: Path | None = None) -> None:
    """Give networks the weights that a file has under their names, and put them into evaluation mode."""
    expected, cure = "weights as tools/localizer writes them", "give other weights, or install the package again"
    shipped = files("kneeal.localizer").joinpath(WEIGHTS)
    with readable(path or Path(WEIGHTS), expected, cure, RuntimeError), (path or shipped).open("rb") as file:
        arrays = np.load(file, allow_pickle=False)
        for name, network in networks.items():
            state = network.state_dict()
            for key in state:
                if not key.endswith("num_batches_tracked"):
                    state[key] = torch.from_numpy(np.asarray(arrays[f"{name}/{key}"], np.float32))
            network.eval().load_state_dict(state)
