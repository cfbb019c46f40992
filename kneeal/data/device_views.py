"""Random views of many patch pairs at once, on the device they are on: the same distribution as `Views`, torch only.

Every number drawn is a hash of the sample's seed and a counter (Salmon et al., "Parallel Random Numbers: As Easy as 1,
2, 3", SC 2011), so a view is a function of its pair and its seed alone: not of the batch it is in, the number of
devices or what was drawn before. The hash is the 32-bit finalizer "lowbias32" of Wellons (hash-prospector, public
domain).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

#: Counters of the parameters of a view; the noise has the hash key of its own.
_ANGLE, _DOWN, _RIGHT, _HAS_GAMMA, _GAMMA, _HAS_NOISE, _NOISE_STD, _KEY, _OTHER_KEY = range(9)
_GOLDEN = 0x9E3779B9 - 2**32


class DeviceViews:
    """Draw one random view of each of N patch pairs, with different randomness for each.

    In this order, as `Views` does: Gaussian noise, clipped to the value range; rotation about the center; padding by
    reflection and a random crop of whole pixels; gamma. Rotation and crop are one resampling, bilinear, with reflection
    about the outermost pixels. `Views` rounds to 8 bits after each step, and gamma cuts the fraction off;
    here nothing is rounded, so a view with a gamma change is brighter by half of one of 255 grey levels on average.

    Args:
        size: Side of the patches in px.
        rotation: Largest rotation in degrees.
        pad: Padding on each side before the random crop, as a share of `size`.
        gamma: Range of the gamma exponent.
        gamma_p: Probability of the gamma transform.
        noise_std: Range of the standard deviation of the Gaussian noise, as a share of the value range.
        noise_p: Probability of the noise.
    """

    def __init__(
        self,
        size: int,
        *,
        rotation: float = 10.0,
        pad: float = 0.05,
        gamma: tuple[float, float] = (0.5, 1.5),
        gamma_p: float = 0.5,
        noise_std: tuple[float, float] = (0.02, 0.08),
        noise_p: float = 0.5,
    ) -> None:
        self.size = size
        self.rotation = math.radians(rotation)
        self.margin = round(pad * size)
        self.gamma = gamma
        self.gamma_p = gamma_p
        self.noise_std = noise_std
        self.noise_p = noise_p

    @torch.no_grad()
    def __call__(self, pairs: Tensor, seeds: Tensor) -> Tensor:
        """One view of each pair.

        Args:
            pairs: uint8 [N, 2, H, H].
            seeds: int64 [N] of 0 or more, on the same device.

        Returns:
            float32 [N, 2, H, H], normalized to [-1, 1].
        """
        draw = _Draws(seeds)
        image = pairs.float().mul_(1 / 255)
        if self.noise_p > 0:
            std = torch.where(draw(_HAS_NOISE) < self.noise_p, draw.between(_NOISE_STD, *self.noise_std), 0.0)
            image = image.addcmul_(draw.normal_pairs(self.size), _per_pair(std)).clamp_(0.0, 1.0)
        if self.rotation > 0 or self.margin > 0:
            image = F.grid_sample(
                image, self._grid(draw), mode="bilinear", padding_mode="reflection", align_corners=True
            )
        if self.gamma_p > 0:
            exponent = torch.where(draw(_HAS_GAMMA) < self.gamma_p, draw.between(_GAMMA, *self.gamma), 1.0)
            image = image.clamp_min_(0.0).pow_(_per_pair(exponent))
        return image.mul_(2.0).sub_(1.0)

    def _grid(self, draw: _Draws) -> Tensor:
        """Where each pixel of the view comes from: [N, H, H, 2], x then y, -1 and 1 at the outermost pixels."""
        last, margin = self.size - 1, self.margin
        pixels = torch.arange(self.size, device=draw.device, dtype=torch.float32)

        def cropped(counter: int) -> Tensor:
            """Coordinates along one axis after the crop, reflected into the image and scaled to [-1, 1]: [N, H]."""
            shift = (draw(counter) * (2 * margin + 1)).floor() - margin
            position = (pixels + shift[:, None]).abs()
            return (last - (last - position).abs()) * (2 / last) - 1

        angle = draw.between(_ANGLE, -self.rotation, self.rotation)[:, None, None]
        cos, sin = angle.cos(), angle.sin()
        y, x = cropped(_DOWN)[:, :, None], cropped(_RIGHT)[:, None, :]
        return torch.stack([cos * x + sin * y, cos * y - sin * x], dim=-1)


class _Draws:
    """Random numbers of N seeds, without state."""

    def __init__(self, seeds: Tensor) -> None:
        self.device = seeds.device
        # Both halves of a seed take part; conversion to 32 bits wraps around.
        high, low = (seeds >> 31).to(torch.int32), (seeds & 0x7FFFFFFF).to(torch.int32)
        key = _mix_(_mix_(high).bitwise_xor_(low))
        counters = torch.arange(9, device=self.device, dtype=torch.int32)[:, None] * _GOLDEN
        self._hashes = _mix_(_mix_(counters + key))  # [counter, N]

    def __call__(self, counter: int) -> Tensor:
        """Uniform in [0, 1): [N]."""
        return ((self._hashes[counter] >> 8) & 0xFFFFFF).float() * (1 / 2**24)

    def between(self, counter: int, low: float, high: float) -> Tensor:
        """Uniform in [low, high): [N]."""
        return self(counter) * (high - low) + low

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


def _per_pair(x: Tensor) -> Tensor:
    return x[:, None, None, None]
