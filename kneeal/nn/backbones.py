"""Classification networks of torchvision and timm as the branch of the Siamese network.

A network is created by name without weights, and its classifier is removed; the rest computes the features.
"""

import copy
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kneeal.errors import UserError, extra, reason_of, unknown_name
from kneeal.nn.knee_encoder import KNEE_ENCODER, KneeEncoder

#: The branch of the paper.
VGG_LIKE = "vgg_like"
#: Prefix of the name of a network of timm.
TIMM = "timm:"
#: Mean and standard deviation of red, green and blue that torchvision's published weights were trained with.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Classes of the classifier that is removed. It is found by this number, so no other layer may have it.
_CLASSES = 1009
#: Sides in px among which the nearest is suggested for one that a network refuses.
_SIDES = range(16, 520, 8)
#: Names of layers in the weights that torchvision publishes for DenseNet, whose last point the network lacks.
_OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


class Backbone(nn.Module):
    """A classification network without its classifier, for gray patches.

    Args:
        name: A network of torchvision, for example "resnet18", "timm:" and a network of timm, or "knee_encoder".

    Attributes:
        name: The same.
        model: The network, with an identity in place of the classifier.
        classifier: Names of the layers that were removed, for example ("fc",).
        n_features: Features F per patch.

    Raises:
        UserError: There is no such network, it has several classifiers, or timm is not installed.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        library = _timm if name.startswith(TIMM) else _ours if name == KNEE_ENCODER else _torchvision
        self.model, self.classifier, self.n_features, mean, std = library(name)
        # Constants, not saved in checkpoints.
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def prepare(self, patches: Tensor) -> Tensor:
        """Patches [N, 1, H, H] in [-1, 1] as the network takes them; networks of other libraries take three colors."""
        # The gray value becomes red, green and blue in the range that published weights were trained on.
        return ((patches + 1) / 2 - self.mean) / self.std

    def forward(self, patches: Tensor) -> Tensor:
        """The features [N, F] of patches [N, 1, H, H] in [-1, 1]."""
        features: Tensor = self.model(self.prepare(patches))
        return features

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Load weights by the library's names; those of the classifier are ignored.

        Raises:
            RuntimeError: Some are missing, unknown or of another shape.
        """
        removed = tuple(f"{name}." for name in self.classifier)
        self.model.load_state_dict(
            {_OLD_NAME.sub(r"\1\2", name): w for name, w in weights.items() if not name.startswith(removed)}
        )


_Parts = tuple[nn.Module, tuple[str, ...], int, tuple[float, ...], tuple[float, ...]]


def _ours(name: str) -> _Parts:
    """The encoder that ships with the package."""
    model = KneeEncoder()
    return model, (), model.n_features, (0.5,), (0.5,)


def _torchvision(name: str) -> _Parts:
    """A network of torchvision without weights and without its classifier."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise unknown_name("backbone of torchvision", name, [VGG_LIKE, KNEE_ENCODER, *known], "correct model.backbone")
    model: nn.Module = models.get_model(name, weights=None, num_classes=_CLASSES)
    layers = dict(model.named_modules())
    found = [
        place
        for place, layer in layers.items()
        if isinstance(layer, nn.Linear | nn.Conv2d) and len(layer.weight) == _CLASSES
    ]
    if len(found) != 1:
        raise UserError(
            f"model.backbone = {name!r}, which has {len(found)} classifiers",
            "a network with one classifier",
            "choose another, for example resnet18",
        )
    n_features = int(layers[found[0]].weight.shape[1])
    parent, _, last = found[0].rpartition(".")
    setattr(model.get_submodule(parent), last, nn.Identity())
    return model, (found[0],), n_features, _MEAN, _STD


def _timm(name: str) -> _Parts:
    """A network of timm without weights and without its classifier."""
    timm, name = _import_timm(), name.removeprefix(TIMM)
    if not timm.is_model(name):
        known = [TIMM + other for other in timm.list_models()]
        raise unknown_name("backbone of timm", TIMM + name, known, "correct model.backbone")
    try:
        # A transformer that takes patches of any side, with its positions resampled.
        model: Any = timm.create_model(name, num_classes=0, dynamic_img_size=True)
    except TypeError:
        model = timm.create_model(name, num_classes=0)
    published = model.pretrained_cfg
    removed = published.get("classifier") or ()
    n_features = int(getattr(model, "head_hidden_size", None) or model.num_features)
    return (
        model,
        (removed,) if isinstance(removed, str) else tuple(removed),
        n_features,
        tuple(published.get("mean", _MEAN)),
        tuple(published.get("std", _STD)),
    )


def _import_timm() -> Any:
    with extra("timm", "a backbone of timm"):
        import timm
    return timm


def published_weights(name: str) -> str:
    """The address of the library's weights for a network, or an empty text. Nothing is downloaded."""
    from torchvision import models

    if name.startswith(TIMM):
        published = _import_timm().models.get_pretrained_cfg(name.removeprefix(TIMM))
        # The library converts files from elsewhere; those on the hub have its own names.
        if published and published.hf_hub_id:
            return f"https://huggingface.co/{published.hf_hub_id}/resolve/main/model.safetensors"
        return str((published and published.url) or "")
    return str(models.get_model_weights(name).DEFAULT.url) if name in models.list_models(module=models) else ""


def fetch_weights(name: str) -> Mapping[str, Tensor]:
    """The weights that the library publishes for a network, from its own cache or downloaded by it.

    Raises:
        UserError: There are none, or they cannot be downloaded.
    """
    address = published_weights(name)
    try:
        if not address:
            raise OSError("none are published for it")
        if name.startswith(TIMM):
            weights = _import_timm().create_model(name.removeprefix(TIMM), pretrained=True).state_dict()
        else:
            from torchvision import models

            weights = models.get_model_weights(name).DEFAULT.get_state_dict(progress=True)
    except Exception as error:  # each library's own network errors
        raise UserError(
            f"no published weights for {name} ({reason_of(error)})",
            "weights in the library's cache, or internet access to download them",
            f"download {address or 'the weights'} on a machine with internet access, copy the file here, and set "
            "model.weights to its path",
        ) from error
    return dict(weights)


def check_side(name: str, side: int) -> None:
    """Refuse patches that a backbone cannot take, by a pass on the meta device.

    Args:
        name: The backbone.
        side: Side of a patch in px.

    Raises:
        UserError: It cannot; the message names the nearest side that it takes.
    """
    if name in (VGG_LIKE, KNEE_ENCODER):
        return  # any multiple of 8, which the settings ensure
    # Created with values and then emptied: some networks inspect their own weights when created.
    with torch.random.fork_rng(devices=[]):
        backbone = Backbone(name).to("meta")
    reason = _refusal(backbone, side)
    if reason is None:
        return
    near = nearest_side(backbone, side)
    raise UserError(
        f"data.patch_size = {side}, which {name} cannot take ({reason[:120]})",
        f"a side that {name} takes" if near is None else f"a side that {name} takes, the nearest is {near}",
        "choose another model.backbone" if near is None else f"set data.patch_size={near}",
    )


def nearest_side(backbone: Backbone, side: int) -> int | None:
    """The side in px nearest to `side` that a backbone takes; None if it takes none up to 512 px."""
    backbone = copy.deepcopy(backbone).to("meta")
    return next((other for other in sorted(_SIDES, key=lambda o: abs(o - side)) if not _refusal(backbone, other)), None)


@torch.no_grad()
def _refusal(backbone: Backbone, side: int) -> str | None:
    """Why a backbone cannot take patches of a side; None if it can."""
    try:
        backbone(torch.zeros(2, 1, side, side, device="meta"))
    except Exception as error:  # each network raises its own
        return reason_of(error)
    return None
