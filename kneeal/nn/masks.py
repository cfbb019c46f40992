"""Dropout masks that are a function of a seed and a sample, and the dropout that they cannot sample.

Such dropout is refused, since it would silently be left out or sampled wrongly.
"""

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode

from kneeal.errors import UserError

_CHANNELWISE = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout)
_ALPHA = (nn.AlphaDropout, nn.FeatureAlphaDropout)
#: What an alpha dropout sets a dropped activation to: minus the product of SELU's two constants.
_ALPHA_VALUE = -1.7580993408473766
#: Bytes of masks that are kept from one batch to the next. 50 masks of the paper's network take 46 MB.
_KEEP_BYTES = 512 * 2**20


class UnforeseenDropout(Exception):  # noqa: N818 - not an error: the caller goes another way
    """A dropout module was called at a point or with a shape that the observed pass did not show."""


class _Place(NamedTuple):
    """Where a mask is applied: which module, the index of its call, and what a mask looks like there."""

    module: int
    call: int
    shape: torch.Size
    device: torch.device
    #: Whether the channels of the maps lie side by side in memory. The mask's then do too, or the product would jump
    #: through memory; which numbers are drawn for which activation is the same.
    channels_inside: bool


class DropoutMasks:
    """The masks of a network's dropout modules: one mask per module, call and sample, shared by all inputs.

    The mask of sample k depends on (seed, k, module, call) and the shape of one input, never on the batch, so masks
    are drawn once and kept for the batches to come.

    Args:
        dropouts: The modules, all of them off.
        seed: Seed of the masks.
    """

    def __init__(self, dropouts: Sequence[_DropoutNd], seed: int) -> None:
        self._dropouts = tuple(dropouts)
        self._seed = seed
        self._places: list[_Place] = []
        self._kept: dict[tuple[int, int, _Place], Tensor] = {}
        self._kept_bytes = 0
        #: Bytes of the largest activation that a dropout module was given in the observed pass.
        self.largest_input = 0

    @contextmanager
    def observe(self, sample: int = 0) -> Iterator[None]:
        """Apply the masks of one sample, and remember which masks there were."""
        self._places, self.largest_input = [], 0

        def mask(index: int, call: int, x: Tensor) -> Tensor:
            shape = _mask_shape(self._dropouts[index], x)
            channels_inside = x.ndim == 4 and x.shape[1] > 1 and x.stride(1) == 1 and shape.numel() > shape[1]
            place = _Place(index, call, shape, x.device, channels_inside)
            self._places.append(place)
            self.largest_input = max(self.largest_input, x.nbytes)
            return self._stacked(place, sample, 1)[0]

        with self._masked(mask):
            yield

    @property
    def shapes(self) -> list[torch.Size]:
        """The shape of each mask of the observed pass, in the order of the calls."""
        return [place.shape for place in self._places]

    def of(self, first: int, n: int) -> list[Tensor]:
        """The masks of `n` samples from `first` on, [n, 1, ...] for each place that was observed."""
        return [self._stacked(place, first, n) for place in self._places]

    def apply(self, masks: Sequence[Tensor], forward: Callable[[], Tensor]) -> Tensor:
        """Run `forward` with given masks [1, ...], one for each place that was observed.

        Raises:
            UnforeseenDropout: The dropout modules were not called as in the observed pass.
        """
        left = dict(zip(((place.module, place.call) for place in self._places), masks, strict=True))

        def mask(index: int, call: int, x: Tensor) -> Tensor:
            found = left.pop((index, call), None)
            if found is None or found.shape != _mask_shape(self._dropouts[index], x):
                raise UnforeseenDropout
            return found

        with self._masked(mask):
            result = forward()
        if left:
            raise UnforeseenDropout
        return result

    def _masked(self, mask: Callable[[int, int, Tensor], Tensor]) -> ExitStack:
        """Drop by the masks for each module, index of its call, and what it is given."""
        hooks = ExitStack()
        for index, module in enumerate(self._dropouts):
            calls = itertools.count(1)

            # The modules themselves are off, so their output is what they were given.
            def apply(module: Any, inputs: Any, x: Tensor, index: int = index, calls: Iterator[int] = calls) -> Tensor:
                return _drop(module, x, mask(index, next(calls), x))

            hooks.enter_context(module.register_forward_hook(apply))
        return hooks

    def _stacked(self, place: _Place, first: int, n: int) -> Tensor:
        key = (first, n, place)
        masks = self._kept.get(key)
        if masks is None:
            masks = torch.stack([self._draw(place, k) for k in range(first, first + n)])
            if place.channels_inside:
                masks = masks.movedim(2, -1).contiguous().movedim(-1, 2)
            if self._kept_bytes + masks.nbytes <= _KEEP_BYTES:
                self._kept[key] = masks
                self._kept_bytes += masks.nbytes
        return masks

    def _draw(self, place: _Place, sample: int) -> Tensor:
        digest = hashlib.sha256(f"{self._seed}/{sample}/{place.module}/{place.call}".encode()).digest()
        generator = torch.Generator(place.device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        return torch.rand(place.shape, generator=generator, device=place.device) >= self._dropouts[place.module].p


def is_plain(module: _DropoutNd) -> bool:
    """Whether a dropout module multiplies each activation by 0 or 1 / (1 - p)."""
    return not isinstance(module, (*_CHANNELWISE, *_ALPHA)) and module.p < 1


def _mask_shape(module: Any, x: Tensor) -> torch.Size:
    """One mask for all N of x [N, ...]."""
    shape = [1, *x.shape[1:]]
    if isinstance(module, _CHANNELWISE):
        shape[2:] = [1] * len(shape[2:])
    return torch.Size(shape)


def _drop(module: _DropoutNd, x: Tensor, keep: Tensor) -> Tensor:
    """Apply a dropout module to x [N, ...] with a mask [1, ...], true where an activation stays."""
    if not isinstance(module, _ALPHA):
        return x * (keep.to(x.dtype) / (1.0 - module.p)) if module.p < 1 else torch.zeros_like(x)
    # Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017: an affine map restores mean and variance.
    q = 1.0 - module.p
    scale = 1.0 / math.sqrt(q + _ALPHA_VALUE**2 * q * module.p) if q else 0.0
    return torch.where(keep, x, _ALPHA_VALUE) * scale - scale * module.p * _ALPHA_VALUE


#: Functions that drop, with the index of the rate among their arguments, and whether they drop unless told otherwise.
_FUNCTIONS: Mapping[Callable[..., Any], tuple[int, bool]] = {
    **dict.fromkeys((F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, torch.dropout), (1, True)),
    **dict.fromkeys((F.alpha_dropout, F.feature_alpha_dropout), (1, False)),
    F.scaled_dot_product_attention: (4, True),
}
#: Modules that drop inside a kernel, at the rate in their attribute `dropout`.
_KERNELS = (nn.MultiheadAttention, nn.RNNBase)
#: Modules that stay in evaluation mode while dropout is looked for: those that are sampled, and those with statistics.
_KEPT = (_DropoutNd, _NormBase)


class _Calls(TorchFunctionMode):
    """Notices a dropout function that is called in training with a probability above 0."""

    found = False

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FUNCTIONS:
            index, drops = _FUNCTIONS[func]
            p = args[index] if len(args) > index else kwargs.get("p", kwargs.get("dropout_p", 0.5 if index == 1 else 0))
            if index == 1:
                drops = args[2] if len(args) > 2 else kwargs.get("training", kwargs.get("train", drops))
            self.found |= bool(drops and p > 0)
        return func(*args, **kwargs)


class HiddenDropout:
    """Finds dropout that cannot be sampled, in a pass over a single input and the first pass over a batch."""

    _shapes: list[torch.Size] | None = None

    def check_one(self, network: nn.Module, masks: DropoutMasks, inputs: tuple[Any, ...]) -> None:
        """Check a pass over the first input of the first batch.

        Args:
            network: In evaluation mode.
            masks: Draws its masks.
            inputs: A batch.

        Raises:
            UserError: Dropout is applied as a function, or inside an attention or recurrent module.
        """
        n = next((len(i) for i in inputs if isinstance(i, Tensor) and i.ndim), 0)
        if self._shapes is not None or not n:
            return
        inside = [m for m in network.modules() if isinstance(m, _KERNELS) and m.dropout > 0]
        if inside:
            _refuse(f"dropout inside {type(inside[0]).__name__}", "set its dropout to 0")
        devices = {p.device for p in network.parameters() if p.is_cuda}
        changed = [m for m in network.modules() if not isinstance(m, _KEPT)]
        try:
            # In training mode, since a function that drops in training alone is never called in evaluation mode.
            for module in changed:
                module.training = True
            with _Calls() as calls, masks.observe(), torch.random.fork_rng(devices):  # stochastic depth draws
                network(*(i[:1] if isinstance(i, Tensor) and i.ndim and len(i) == n else i for i in inputs))
        finally:
            for module in changed:
                module.training = False
        if calls.found:
            _refuse("dropout applied as a function", "write it as a module, torch.nn.Dropout for example")
        self._shapes = masks.shapes

    def check_batch(self, masks: DropoutMasks) -> None:
        """Compare the masks of the pass that was observed last.

        Raises:
            UserError: Their shapes differ from those for a single input: their first dimension is not the batch.
        """
        known, found = self._shapes or [], masks.shapes
        if len(known) == len(found) and known != found:
            cure = "give its module inputs [N, ...] (batch_first)"
            _refuse("dropout where the first dimension is not the batch", cure)


def _refuse(found: str, cure: str) -> None:
    raise UserError(
        f"Monte-Carlo dropout on a network with {found}",
        "dropout modules alone, whose inputs have the batch as their first dimension",
        f"{cure}, or choose a strategy that needs no samples",
    )
