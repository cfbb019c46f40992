"""The Siamese network of the paper, VGG-like or with another branch.

Architecture after Nguyen et al., "Semixup: In- and Out-of-Manifold Regularization for Deep Semi-Supervised Knee
Osteoarthritis Severity Grading from Plain Radiographs", IEEE Transactions on Medical Imaging 39 (12), 2020.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kneeal.errors import reason_of
from kneeal.nn.backbones import VGG_LIKE, Backbone
from kneeal.nn.freezing import ALL, NONE, FrozenEncoder, Standardize, cut, one_by_one
from kneeal.nn.heads import HEADS
from kneeal.nn.layers import QuickDropout, conv_block, make_pooling

#: The branch halves its input three times, once at the start of groups 2 to 4.
PATCH_STEP = 8
_LAYERS_PER_GROUP = (3, 2, 2, 2)
#: Name of the buffer that says which encoder a network with a frozen part goes with.
_CHECKSUM = "encoder_checksum"


class Output(NamedTuple):
    """The network's output for N knees."""

    logits: Tensor  #: [N, C], whose softmax are the probabilities of the grades, whatever the head.
    features: Tensor  #: [N, 2 F], the medial and the lateral feature vector side by side.


class SiameseKneeNet(nn.Module):
    """Grade a knee from its medial and its lateral patch with one shared branch.

    Args:
        width: Channels of the first of four groups; the others have 2, 4 and 8 times as many.
            32 is the paper's, with 1,248,032 parameters.
        dropout: Probability of dropping an activation after groups 1 to 3, in [0, 1).
        classifier_dropout: The same before the classifier.
        pooling: "hv" (horizontal-vertical), "vh" (vertical-horizontal) or "gap" (global average).
        backbone: "vgg_like" is the paper's branch; any other name is that of a `Backbone`, which has its own initial
            weights and dropout, so that `width`, `dropout` and `pooling` are ignored.
        freeze: "none", "all" or the name of a stage of the backbone: what `freeze` is called with at once.
        head: "softmax" (the paper's), "corn" or "cumulative", see `kneeal.nn.heads`.
        n_grades: Number of classes C.

    Attributes:
        encoder: The frozen part of the branch, None where everything is trained.
        branch: The part of the branch that is trained.
        prior_center: What a prior pulls weights to, by name, where that is not 0: the classifier of a file, or the
            origin of its head.
        head_loaded: Whether the classifier has weights of a file, to start from.

    Raises:
        UserError: There is no such backbone, or it cannot be cut at that stage.
    """

    def __init__(
        self,
        *,
        width: int = 32,
        dropout: float = 0.35,
        classifier_dropout: float = 0.35,
        pooling: str = "hv",
        backbone: str = VGG_LIKE,
        freeze: str = NONE,
        head: str = "softmax",
        n_grades: int = 5,
    ) -> None:
        super().__init__()
        self.branch: nn.Module
        self._own = backbone == VGG_LIKE
        if backbone == VGG_LIKE:
            self.branch, n_features = _vgg_like(width, dropout, pooling), width * 2**3
        else:
            self.branch = Backbone(backbone)
            n_features = self.branch.n_features
        self.classifier_dropout = QuickDropout(classifier_dropout)
        self.head = HEADS[head](n_grades)
        self.classifier = nn.Linear(2 * n_features, self.head.n_outputs, bias=self.head.bias)
        if backbone == VGG_LIKE:  # a network of torchvision has its own initialization
            self.branch.apply(_init_weights)
        self.reset_head()
        self.encoder: FrozenEncoder | None = None
        self.prior_center: dict[str, Tensor] = {"classifier.bias": self.head.origin} if self.head.origin.any() else {}
        self.head_loaded = False
        self.standardize: nn.Module = nn.Identity()
        self.freeze(freeze)

    def freeze(self, stage: str) -> None:
        """Freeze the branch with the weights that it has now.

        `parameters`, `state_dict`, `modules` and copies of the network leave frozen weights out.
        Features of a branch that is frozen as a whole are standardized.

        Args:
            stage: "none", "all" or the name of a module of the backbone.

        Raises:
            UserError: The branch cannot be cut there.
        """
        if stage == NONE:
            return
        self.encoder, self.branch = cut(self.branch, stage)
        self.register_buffer(_CHECKSUM, _bytes(self.encoder.checksum()))
        self.register_load_state_dict_pre_hook(_refuse_other_encoder)  # type: ignore[no-untyped-call]
        if stage == ALL:
            self.standardize = Standardize(self.classifier.in_features)

    def load_head(self, weights: Mapping[str, Tensor]) -> None:
        """Load the classifier of another network, if it is of the same kind; the branch stays as it is.

        Args:
            weights: Everything but the branch, as `whole_state` names it.
        """
        own = {n: w for n, w in self.state_dict().items() if not n.startswith("branch.") and n != _CHECKSUM}
        if {n: w.shape for n, w in own.items()} == {n: w.shape for n, w in weights.items()}:
            self.load_state_dict(weights, strict=False)
            self.prior_center = {name: weight.detach().clone() for name, weight in self.named_parameters()}
            self.head_loaded = True

    def reset_head(self) -> None:
        """Give the classifier new random weights, around the origin of the head."""
        self.classifier.apply(_init_weights)
        if self.head.bias:
            self.classifier.bias.data.copy_(self.head.origin)

    def whole_state(self) -> dict[str, Tensor]:
        """Every weight under the name that it has where nothing is frozen."""
        frozen = {} if self.encoder is None else self.encoder.branch.state_dict()
        whole = {**{f"branch.{name}": weight for name, weight in frozen.items()}, **self.state_dict()}
        return {name: weight for name, weight in whole.items() if name != _CHECKSUM}

    def load_whole_state(self, weights: Mapping[str, Tensor]) -> None:
        """Load what `whole_state` gave.

        Raises:
            RuntimeError: Weights are missing, unknown or of another shape.
        """
        if self.encoder is not None:
            branch = {n.removeprefix("branch."): w for n, w in weights.items() if n.startswith("branch.")}
            self.encoder.branch.load_state_dict(branch)
            checksum = _bytes(self.encoder.checksum())
            self.get_buffer(_CHECKSUM).copy_(checksum)
            own = self.state_dict()
            weights = {n: w for n, w in weights.items() if n in own or not n.startswith("branch.")}
            weights = {**weights, _CHECKSUM: checksum}
        self.load_state_dict(weights)

    def forward(self, patches: Tensor) -> Output:
        """Grade N knees.

        Args:
            patches: [N, 2, H, H], medial then lateral, normalized to [-1, 1]. H is divisible by 8, or what another
                backbone can take. A network with a frozen part also takes its activations [N, 2, ...].

        Raises:
            ValueError: The patches have another shape.
        """
        if self.encoder is not None:
            singles = (self.encoder(patches) if patches.ndim == 4 else patches).flatten(0, 1)
        else:
            singles = self._singles(patches)
        features = self.standardize(self.branch(singles).reshape(-1, self.classifier.in_features))
        return Output(self.head.logits(self.classifier(self.classifier_dropout(features))), features)

    def _singles(self, patches: Tensor) -> Tensor:
        """Both patches of each knee as one batch, knee by knee, so that both share a Monte-Carlo dropout mask."""
        step = PATCH_STEP if self._own else 1
        if patches.ndim != 4 or patches.shape[1] != 2 or any(side % step for side in patches.shape[2:]):
            raise ValueError(f"patches must be [N, 2, H, H] with H divisible by {step} but got {tuple(patches.shape)}.")
        # Without gradients a CPU convolves channels-last strides faster, and every layer of the branch keeps them; with
        # gradients the normalization loses more than that gains.
        channels_last = patches.device.type == "cpu" and self._own and not torch.is_grad_enabled()
        return one_by_one(patches, channels_last=channels_last)


def read_torch(path: Path) -> Any:
    """What `torch.save` wrote, on the CPU, read without running code from it.

    Raises:
        ValueError: The file is missing or damaged, or torch did not write it.
    """
    try:
        with path.open("rb") as file:
            if not file.read(2).startswith((b"PK", b"\x80")):  # a zip file, or a pickle
                raise ValueError("torch did not write this file")
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # whose message advises to run code from the file
        raise ValueError("torch did not write it, or it is damaged") from error
    except Exception as error:  # of struct, zip, decoding: each kind of damage raises its own
        raise ValueError(reason_of(error)) from error


def _bytes(checksum: str) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(checksum), dtype=torch.uint8)


def _refuse_other_encoder(module: nn.Module, weights: Mapping[str, Tensor], prefix: str, *more: Any) -> None:
    """Refuse weights that were trained on another frozen encoder: they would load, but grade at random."""
    theirs = weights.get(prefix + _CHECKSUM)
    if theirs is not None and not torch.equal(theirs.cpu(), module.get_buffer(_CHECKSUM).cpu()):
        more[-1].append("they were trained on another frozen encoder.")


def _vgg_like(width: int, dropout: float, pooling: str) -> nn.Sequential:
    branch, n_in = nn.Sequential(), 1
    for group, n_layers in enumerate(_LAYERS_PER_GROUP):
        n_out = width * 2**group
        layers = conv_block(n_in, n_out, 3, 1 if group == 0 else 2)
        for _ in range(n_layers - 1):
            layers += conv_block(n_out, n_out, 3)
        branch.append(nn.Sequential(*layers))
        if group < 3:
            branch.append(QuickDropout(dropout))
        n_in = n_out
    return branch.append(make_pooling(pooling, n_in))


def _init_weights(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02), as the authors do; a bias starts at 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        with torch.no_grad():
            module.weight.normal_(0.0, 0.02)
            if module.bias is not None:
                module.bias.zero_()
