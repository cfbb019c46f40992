"""Random views of many patch pairs at once, on the device they are on.

The transforms are those of Nguyen et al., "Semixup", IEEE Transactions on Medical Imaging, 2020.

Every number drawn is a hash of the sample's seed and a counter (Salmon et al., "Parallel Random Numbers: As Easy as 1,
2, 3", SC 2011), so a view is a function of its pair and its seed alone: not of the batch it is in, the number of
devices or what was drawn before. The hash is the 32-bit finalizer "lowbias32" of Wellons (hash-prospector, public
domain).
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

#: Counters of the parameters of a view; the noise uses two of them as its hash key.
_ANGLE, _DOWN, _RIGHT, _HAS_GAMMA, _GAMMA, _HAS_NOISE, _NOISE_STD, _KEY, _OTHER_KEY, _HAS_CONTRAST, _CONTRAST = range(
    11
)
_GOLDEN = 0x9E3779B9 - 2**32


@dataclass(frozen=True)
class Views:
    """Draw one random view of each of N patch pairs, with different randomness for each.

    In this order: Gaussian noise, clipped to the value range; rotation about the center; padding and a random crop of
    whole pixels; gamma; contrast. Rotation and crop are one resampling, bilinear, with reflection about the outermost
    pixels or black beyond them.
    """

    size: int  #: Side of the patches in px.
    _: KW_ONLY
    rotation: float = 10.0  #: Largest rotation in degrees.
    #: Largest shift each way as a share of `size`, or the range of the shift, which holds 0.
    pad: float | tuple[float, float] = 0.05
    border: str = "reflect"  #: What lies outside the patch: its reflection ("reflect") or 0 ("black").
    #: "knee" gives both patches one view, since they are parts of one radiograph; "patch" gives each its own.
    each: str = "knee"
    gamma: tuple[float, float] = (0.5, 1.5)  #: Range of the gamma exponent.
    gamma_p: float = 0.5  #: Probability of the gamma transform.
    #: Range of the standard deviation of the Gaussian noise, as a share of the value range.
    noise_std: tuple[float, float] = (0.02, 0.08)
    noise_p: float = 0.5  #: Probability of the noise.
    contrast: tuple[float, float] = (1.0, 1.0)  #: Range of the factor that multiplies all values.
    contrast_p: float = 0.0  #: Probability of the contrast change.

    @torch.no_grad()
    def __call__(self, pairs: Tensor, seeds: Tensor) -> Tensor:
        """One view of each pair.

        Args:
            pairs: uint8 [N, 2, H, H].
            seeds: int64 [N] of 0 or more, on the same device.

        Returns:
            float32 [N, 2, H, H], normalized to [-1, 1].
        """
        shape = pairs.shape
        if self.each == "patch":
            pairs = pairs.reshape(-1, 1, *shape[2:])
            seeds = (2 * seeds[:, None] + torch.arange(2, device=seeds.device)).flatten()
        draw = _Draws(seeds)
        image = pairs.float().mul_(1 / 255)
        if self.noise_p > 0:
            std = draw.change(_HAS_NOISE, self.noise_p, _NOISE_STD, self.noise_std, without=0.0)
            image = image.addcmul_(draw.normal_pairs(self.size)[:, : image.shape[1]], std).clamp_(0.0, 1.0)
        if self.rotation > 0 or any(self._shift):
            outside = "zeros" if self.border == "black" else "reflection"
            image = F.grid_sample(image, self._grid(draw), mode="bilinear", padding_mode=outside, align_corners=True)
        if self.gamma_p > 0:
            image = image.clamp_min_(0.0).pow_(draw.change(_HAS_GAMMA, self.gamma_p, _GAMMA, self.gamma))
        if self.contrast_p > 0:
            factor = draw.change(_HAS_CONTRAST, self.contrast_p, _CONTRAST, self.contrast)
            image = image.mul_(factor).clamp_(0.0, 1.0)
        return image.mul_(2.0).sub_(1.0).view(shape)

    @property
    def _shift(self) -> tuple[int, int]:
        """Range of the shift in px."""
        low, high = self.pad if isinstance(self.pad, tuple) else (-self.pad, self.pad)
        return round(low * self.size), round(high * self.size)

    def _grid(self, draw: _Draws) -> Tensor:
        """Where each pixel of the view comes from: [N, H, H, 2], x then y, -1 and 1 at the outermost pixels."""
        last, (low, high) = self.size - 1, self._shift
        pixels = torch.arange(self.size, device=draw.device, dtype=torch.float32)

        def cropped(counter: int) -> Tensor:
            """Coordinates along one axis after the crop, -1 and 1 at the outermost pixels of the image: [N, H]."""
            position = pixels + ((draw(counter) * (high - low + 1)).floor() + low)[:, None]
            if self.border != "black":
                position = last - (last - position.abs()).abs()  # reflected into the image
            return position * (2 / last) - 1

        largest = math.radians(self.rotation)
        angle = draw.between(_ANGLE, -largest, largest)[:, None, None]
        cos, sin = angle.cos(), angle.sin()
        y, x = cropped(_DOWN)[:, :, None], cropped(_RIGHT)[:, None, :]
        return torch.stack([cos * x + sin * y, cos * y - sin * x], dim=-1)


class _Draws:
    """Random numbers of N seeds, without state."""

    def __init__(self, seeds: Tensor) -> None:
        self.device = seeds.device
        # Both halves of a seed are used; conversion to 32 bits wraps around.
        high, low = (seeds >> 31).to(torch.int32), (seeds & 0x7FFFFFFF).to(torch.int32)
        key = _mix_(_mix_(high).bitwise_xor_(low))
        counters = torch.arange(11, device=self.device, dtype=torch.int32)[:, None] * _GOLDEN
        self._hashes = _mix_(_mix_(counters + key))  # [counter, N]

    def __call__(self, counter: int) -> Tensor:
        """Uniform in [0, 1): [N]."""
        return ((self._hashes[counter] >> 8) & 0xFFFFFF).float() * (1 / 2**24)

    def between(self, counter: int, low: float, high: float) -> Tensor:
        """Uniform in [low, high): [N]."""
        return self(counter) * (high - low) + low

    def change(
        self, has: int, probability: float, counter: int, limits: tuple[float, float], *, without: float = 1.0
    ) -> Tensor:
        """How strong a change of each pair is, `without` where it stays as it is: [N, 1, 1, 1]."""
        return torch.where(self(has) < probability, self.between(counter, *limits), without)[:, None, None, None]

    def normal_pairs(self, size: int) -> Tensor:
        """Standard normal [N, 2, size, size], by Box and Muller (1958): each hash gives one number per patch."""
        pixels = torch.arange(size * size, device=self.device, dtype=torch.int32) * _GOLDEN
        bits = _mix_((pixels + self._hashes[_KEY, :, None]).bitwise_xor_(self._hashes[_OTHER_KEY, :, None]))
        angle = (bits & 0xFFFF).float().mul_(2 * math.pi / 2**16)
        radius = ((bits >> 16) & 0xFFFF).float().add_(0.5).mul_(1 / 2**16).log_().mul_(-2.0).sqrt_()
        return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1).view(-1, 2, size, size)


def _mix_(x: Tensor) -> Tensor:
    """Hash int32 numbers in place; multiplication wraps around."""
    x ^= (x >> 16) & 0xFFFF
    x *= 0x7FEB352D
    x ^= (x >> 15) & 0x1FFFF
    x *= 0x846CA68B - 2**32
    x ^= (x >> 16) & 0xFFFF
    return x
