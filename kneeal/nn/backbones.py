"""Classification networks of torchvision as the branch of the Siamese network.

A network is created by name without weights, and its classifier is removed; the rest computes the features.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kneeal.errors import UserError

#: The branch of the paper.
OWN = "vgg_like"
#: Mean and standard deviation of red, green and blue that torchvision's published weights were trained with.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Classes of the classifier that is removed. It is found by this number, so no other layer may have it.
_CLASSES = 1009
#: Sides in px that are tried in place of one that a network refuses.
_SIDES = range(16, 520, 8)


class Backbone(nn.Module):
    """A classification network without its classifier, for gray patches.

    Args:
        name: As torchvision calls it, for example "resnet18".

    Attributes:
        name: The same.
        model: torchvision's network with an identity in place of the classifier.
        classifier: Name of the removed classifier, for example "fc".
        n_features: Features F per patch.

    Raises:
        UserError: torchvision has no classification network of that name, or one with several classifiers.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str) -> None:
        from torchvision import models

        super().__init__()
        known = models.list_models(module=models)
        if name not in known:
            near = difflib.get_close_matches(name, [OWN, *known], 3, 0.4)
            raise UserError(
                f"model.backbone = {name!r}, which torchvision does not have",
                f"{OWN}, or the name of a classification network of torchvision, for example resnet18",
                f"did you mean {', '.join(near)}?" if near else "correct the name",
            )
        self.name = name
        self.model: nn.Module = models.get_model(name, weights=None, num_classes=_CLASSES)
        layers = dict(self.model.named_modules())
        found = [place for place, layer in layers.items() if _n_classes(layer) == _CLASSES]
        if len(found) != 1:
            raise UserError(
                f"model.backbone = {name!r}, which has {len(found)} classifiers",
                "a network with one classifier",
                "choose another, for example resnet18",
            )
        self.classifier = found[0]
        layer = layers[self.classifier]
        self.n_features = int(layer.weight.shape[1])
        parent, _, last = self.classifier.rpartition(".")
        setattr(self.model.get_submodule(parent), last, nn.Identity())
        # Constants, not saved in checkpoints.
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        """The features [N, F] of patches [N, 1, H, H] in [-1, 1]."""
        # The gray value becomes red, green and blue in the range that published weights were trained on.
        features: Tensor = self.model(((patches + 1) / 2 - self.mean) / self.std)
        return features

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Load weights by torchvision's names; those of the classifier are ignored.

        Raises:
            RuntimeError: Some are missing, unknown or of another shape.
        """
        own = f"{self.classifier}."
        self.model.load_state_dict({name: w for name, w in weights.items() if not name.startswith(own)})


def published_weights(name: str) -> str:
    """The address of torchvision's weights for a network, or an empty text. Nothing is downloaded."""
    from torchvision import models

    return str(models.get_model_weights(name).DEFAULT.url) if name in models.list_models(module=models) else ""


def check_side(name: str, side: int) -> None:
    """Refuse patches that a backbone cannot take, by a pass on the meta device.

    Args:
        name: The backbone.
        side: Side of a patch in px.

    Raises:
        UserError: It cannot; the message names the nearest side that it takes.
    """
    if name == OWN:
        return  # any multiple of 8, which the settings ensure
    # Created with values and then emptied: some networks inspect their own weights when created.
    with torch.random.fork_rng(devices=[]):
        backbone = Backbone(name).to("meta")
    reason = _refusal(backbone, side)
    if reason is None:
        return
    near = next((other for other in sorted(_SIDES, key=lambda o: abs(o - side)) if not _refusal(backbone, other)), None)
    raise UserError(
        f"data.patch_size = {side}, which {name} cannot take ({reason[:120]})",
        f"a side that {name} takes" if near is None else f"a side that {name} takes, the nearest is {near}",
        "choose another model.backbone" if near is None else f"set data.patch_size={near}",
    )


@torch.no_grad()
def _refusal(backbone: Backbone, side: int) -> str | None:
    """Why a backbone cannot take patches of a side; None if it can."""
    try:
        backbone(torch.zeros(2, 1, side, side, device="meta"))
    except Exception as error:  # each network raises its own
        return (str(error) or type(error).__name__).splitlines()[0]
    return None


def _n_classes(layer: nn.Module) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, nn.Conv2d) else None
