"""From the settings of a network to the network, with random weights or with those of a file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kneeal.build.keywords import keywords
from kneeal.config import RunConfig
from kneeal.data.grades import N_GRADES
from kneeal.errors import UserError
from kneeal.nn.backbones import OWN, Backbone, check_side, published_weights
from kneeal.nn.mc_dropout import dropout_modules
from kneeal.nn.network import SiameseKneeNet

_UNREADABLE = (OSError, KeyError, TypeError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError)
#: Keys under which training scripts keep the weights in a file.
_NESTED = ("state_dict", "model")


def arguments(config: RunConfig) -> dict[str, Any]:
    """What `SiameseKneeNet` is made with; a model file keeps it."""
    return {**keywords(SiameseKneeNet, config.model), "n_grades": N_GRADES}


def bare_network(config: RunConfig) -> SiameseKneeNet:
    """The network with random weights, whatever files the configuration names.

    Raises:
        UserError: There is no such backbone.
    """
    return SiameseKneeNet(**arguments(config))


def make_network(config: RunConfig) -> SiameseKneeNet:
    """The network as a fit starts from it: random weights, those of `model.weights`, or those of `training.init`.

    Where both files are given, `training.init` is what remains: it holds the whole branch.

    Raises:
        UserError: There is no such backbone, or a file does not fit it.
    """
    network = bare_network(config)
    if config.training.init is not None:
        load_branch(network, Path(config.training.init))
    elif config.model.weights is not None:
        load_backbone(network, Path(config.model.weights))
    return network


def check_network(config: RunConfig, *, masks: bool) -> None:
    """Refuse a network that cannot be made or cannot take the patches, before anything is trained or asked.

    Args:
        config: The resolved configuration.
        masks: Whether Monte-Carlo dropout is going to draw masks.

    Raises:
        UserError: It cannot, or has no dropout to draw masks for.
    """
    check_side(config.model.backbone, config.data.patch_size)
    if masks or config.model.weights is not None or config.training.init is not None:
        network = make_network(config)
        if masks:
            dropout_modules(network)


def load_branch(network: SiameseKneeNet, path: Path) -> None:
    """Load the weights of the branch from a checkpoint; the classifier stays as it is.

    Raises:
        UserError: The file is no checkpoint of such a branch.
    """
    prefix = "network.branch."
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        network.branch.load_state_dict({n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)})
    except _UNREADABLE as error:
        raise UserError(
            f"training.init = {path} holds no weights for this branch ({str(error).splitlines()[0]})",
            "a checkpoint that kneeal wrote with the same model.backbone, model.width and model.pooling",
            "check --init, or set the model settings of the checkpoint",
        ) from error


def load_backbone(network: SiameseKneeNet, path: Path) -> None:
    """Load torchvision's weights of a backbone from a file; the file's classifier is left out.

    Args:
        network: With a backbone of torchvision.
        path: A file of safetensors, or one that torch wrote, which is read without running code from it.

    Raises:
        UserError: There is no file, it cannot be read, it does not fit, or the backbone is the paper's.
    """
    backbone = network.branch
    if not isinstance(backbone, Backbone):
        raise UserError(
            f"model.weights = {path} with model.backbone = {OWN}",
            "a backbone of torchvision",
            "set model.backbone, or give a checkpoint of kneeal by training.init (--init)",
        )
    published = published_weights(backbone.name)
    if not path.is_file():
        raise UserError(
            f"model.weights = {path}, where there is no file",
            f"torchvision's weights of {backbone.name}; nothing is downloaded by itself",
            f"fetch {published} and put it there, or leave model.weights empty for a random start",
        )
    try:
        backbone.load(_read(path))
    except _UNREADABLE as error:
        reason = " ".join(line.strip() for line in (str(error) or type(error).__name__).splitlines())
        raise UserError(
            f"model.weights = {path} holds no weights for {backbone.name} ({reason[:300]})",
            f"weights by the names of torchvision's {backbone.name}, for example {published}",
            "check the file and model.backbone",
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except SafetensorError as error:
            raise ValueError(str(error)) from error
    content = torch.load(path, map_location="cpu", weights_only=True)
    for key in _NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(w, Tensor) for w in content.values()):
        raise ValueError("it holds something else than tensors by name")
    return content
