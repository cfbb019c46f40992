"""Classification networks of torchvision in the place of the branch of the Siamese network.

No model has a line of its own here: a network is made by its name without weights, and its classifier, the one layer
that gives the classes, is taken out. What is left gives the features. Nothing is ever downloaded.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kneeal.errors import UserError

#: The branch of the paper, which is no network of torchvision.
OWN = "vgg_like"
#: Mean and standard deviation of red, green and blue that torchvision's published weights were trained with.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Classes of the classifier that is taken out. It is found by this number, so no other layer may have it.
_CLASSES = 1009
#: Sides in px that are tried where one is too small.
_SIDES = range(16, 520, 8)


class Backbone(nn.Module):
    """A classification network without its classifier, for grey patches.

    Args:
        name: As torchvision calls it, for example "resnet18".

    Attributes:
        name: The same.
        model: torchvision's network with an identity in the place of the classifier.
        classifier: Where the classifier was, for example "fc".
        n_features: Features F of a patch.

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
        # No part of a checkpoint: they never change.
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        """The features [N, F] of patches [N, 1, H, H] in [-1, 1]."""
        # One grey value is red, green and blue, in the range that torchvision's published weights know.
        features: Tensor = self.model(((patches + 1) / 2 - self.mean) / self.std)
        return features

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over weights by the names that torchvision gives them; those of the classifier are left out.

        Raises:
            RuntimeError: Some are missing, unknown or of another shape.
        """
        own = f"{self.classifier}."
        self.model.load_state_dict({name: w for name, w in weights.items() if not name.startswith(own)})


def published_weights(name: str) -> str:
    """Where torchvision has weights for a network of that name: an address, or an empty text. Nothing is fetched."""
    from torchvision import models

    return str(models.get_model_weights(name).DEFAULT.url) if name in models.list_models(module=models) else ""


def check_side(name: str, side: int) -> None:
    """Refuse patches that a backbone cannot take, found by a pass that computes nothing.

    Args:
        name: The backbone.
        side: Side of a patch in px.

    Raises:
        UserError: It cannot; the nearest side that it takes is named.
    """
    if name == OWN:
        return  # any multiple of 8, which the settings see to
    # Made first and emptied then: some networks look at numbers of theirs while they are made.
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
    """Why a backbone cannot take patches of a side; None where it can."""
    try:
        backbone(torch.zeros(2, 1, side, side, device="meta"))
    except Exception as error:  # each network says it in its own way
        return (str(error) or type(error).__name__).splitlines()[0]
    return None


def _n_classes(layer: nn.Module) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, nn.Conv2d) else None
