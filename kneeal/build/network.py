"""From the settings of a network to the network, with random weights or with those of a file."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kneeal.config import RunConfig, keywords
from kneeal.data.grades import N_GRADES
from kneeal.errors import UserError, reason_of
from kneeal.exchange.model_file import MODEL_SUFFIX, read_model
from kneeal.nn.backbones import VGG_LIKE, Backbone, fetch_weights, published_weights
from kneeal.nn.freezing import NONE
from kneeal.nn.knee_encoder import KNEE_ENCODER
from kneeal.nn.network import SiameseKneeNet, read_torch

_UNREADABLE = (AttributeError, KeyError, TypeError, RuntimeError, ValueError)
#: Value of `model.weights` for those that the backbone's library publishes.
PUBLISHED = "default"
#: The weights of the encoder that ships.
SHIPPED = Path(str(files("kneeal.nn") / "knee_encoder.safetensors"))


def arguments(config: RunConfig) -> dict[str, Any]:
    """What `SiameseKneeNet` is made with; a model file keeps it."""
    return {**keywords(SiameseKneeNet, config.model), "n_grades": N_GRADES}


def make_network(config: RunConfig) -> SiameseKneeNet:
    """The network as a fit starts from it: random weights, those of `model.weights`, or those of `training.init`.

    If both files are given, `training.init` counts: it holds the whole branch.
    """
    with torch.random.fork_rng(devices=[], enabled=config.model.freeze != NONE):
        if config.model.freeze != NONE:
            torch.manual_seed(0)  # a frozen part without a file of weights is the same random one for all runs
        network = SiameseKneeNet(**{**arguments(config), "freeze": NONE})
    model, head = config.model, dict[str, Tensor]()
    if config.training.init is not None:
        head = load_init(network, Path(config.training.init), config)
    elif model.backbone == KNEE_ENCODER and model.weights in (None, PUBLISHED):
        load_backbone(network, SHIPPED)
    elif model.weights == PUBLISHED:
        _backbone(network, PUBLISHED).load(fetch_weights(model.backbone))
    elif model.weights is not None:
        load_backbone(network, Path(model.weights))
    network.freeze(model.freeze)
    if head:
        network.load_head(head)
    return network


def bare_network(config: RunConfig) -> SiameseKneeNet:
    """The network for a checkpoint to be loaded into, which brings all weights but those of a frozen encoder.

    Files that the configuration names are read only for a frozen encoder; they may no longer exist.
    """
    return SiameseKneeNet(**arguments(config)) if config.model.freeze == NONE else make_network(config)


def load_init(network: SiameseKneeNet, path: Path, config: RunConfig) -> dict[str, Tensor]:
    """Load the branch of a checkpoint or of an exported model into a network of which nothing is frozen yet.

    Returns:
        The weights of the model's head; none for a checkpoint, or if the head or the number of grades differs.
    """
    if not path.is_file():
        raise UserError(
            f"training.init = {path}, where there is no file",
            "a checkpoint that kneeal wrote, or a model that `kneeal export` wrote",
            "check --init",
        )
    exported, prefix, head = path.suffix == MODEL_SUFFIX, "network.branch.", dict[str, Tensor]()
    theirs = "the same model.backbone, model.width and model.pooling as those of the checkpoint"
    if exported:
        weights, card = read_model(path)
        if card.patch_size != config.data.patch_size:
            raise UserError(
                f"training.init = {path}, a model of patches of {card.patch_size} px, with data.patch_size = "
                f"{config.data.patch_size}",
                "patches of the size that the model was trained on",
                f"give --set data.patch_size={card.patch_size}, or another --init",
            )
        ours, prefix = arguments(config), "branch."
        theirs = ", ".join(f"model.{key}={card.network.get(key)}" for key in ("backbone", "width", "pooling"))
        if all(card.network.get(key, ours[key]) == ours[key] for key in ("head", "n_grades")):
            head = {name: w for name, w in weights.items() if not name.startswith(prefix)}
    try:
        if not exported:
            weights = read_torch(path)["state_dict"]
        network.branch.load_state_dict({n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)})
    except _UNREADABLE as error:
        raise UserError(
            f"training.init = {path} holds no weights for this branch ({reason_of(error)})",
            f"a checkpoint that kneeal wrote, or a model that `kneeal export` wrote, with {theirs}",
            "check --init, or set these; a run with model.freeze is exported first",
        ) from error
    return head


def load_backbone(network: SiameseKneeNet, path: Path) -> None:
    """Load the weights of a backbone from a file, by its library's names; the file's classifier is left out.

    Files of safetensors and of torch are read, neither by running code from it.
    """
    backbone = _backbone(network, str(path))
    published = published_weights(backbone.name) or f"a file that fits {backbone.name}"
    if not path.is_file():
        raise UserError(
            f"model.weights = {path}, where there is no file",
            f"weights of {backbone.name}, or {PUBLISHED} for its library to download them",
            f"fetch {published} and put it there, or leave model.weights empty for "
            + ("the weights that ship" if backbone.name == KNEE_ENCODER else "a random start"),
        )
    try:
        backbone.load(_read(path))
    except _UNREADABLE as error:
        raise UserError(
            f"model.weights = {path} holds no weights for {backbone.name} ({reason_of(error)})",
            f"weights by the names of its library, for example {published}",
            f"check the file and model.backbone; give what `kneeal export` wrote by --init {path}",
        ) from error


def _backbone(network: SiameseKneeNet, weights: str) -> Backbone:
    if not isinstance(network.branch, Backbone):
        raise UserError(
            f"model.weights = {weights} with model.backbone = {VGG_LIKE}",
            "a backbone of torchvision or timm",
            "set model.backbone, or give a checkpoint of kneeal by training.init (--init)",
        )
    return network.branch


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name."""
    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except (OSError, SafetensorError) as error:
            raise ValueError(reason_of(error)) from error
    content = read_torch(path)
    for key in ("state_dict", "model"):  # where training scripts keep the weights
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(w, Tensor) for w in content.values()):
        raise ValueError("it does not hold tensors by name")
    return content
