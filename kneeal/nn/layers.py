"""Layers of the paper's branch: dropout, normalization and the pooling of a map into a feature vector."""

import torch
from torch import Tensor, nn

#: Random bits of one activation: the probability is a multiple of 1 / 65,536.
_BITS = 16


class QuickDropout(nn.Dropout):
    """`torch.nn.Dropout` that cuts the random numbers of four activations out of one of 64 bits, on a CPU.

    torch draws one Bernoulli number per activation: a sixth of a training step of a narrow network. Here the
    probability is rounded to a multiple of 1 / 65,536, and kept activations are divided by the rounded probability of
    keeping them, so their expectation is exact. On other devices, and for p = 1, it is torch's own.

    Args:
        p: Probability of dropping an activation, in [0, 1].
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop activations of x [...] in training; otherwise x as it is."""
        dropped = round(self.p * 2**_BITS)
        if not self.training or x.device.type != "cpu" or not 0 < dropped < 2**_BITS:
            return super().forward(x)
        n = x.numel()
        # One value of 2^64 never comes, since the upper end is left out.
        words = torch.randint(-(2**63), 2**63 - 1, (-(-n * _BITS // 64),))
        try:
            bits = words.view(torch.int16)
        except RuntimeError:  # inside torch.vmap, which older versions of torch do not support here
            return super().forward(x)
        stays = bits[:n].view(x.shape) >= dropped - 2 ** (_BITS - 1)
        kept: Tensor = x * stays.to(x.dtype).mul_(2**_BITS / (2**_BITS - dropped))
        return kept


class SizeSafeInstanceNorm2d(nn.InstanceNorm2d):
    """Instance normalization, without affine map, that leaves a map of a single element as it is.

    The norm of one element is always zero, so normalizing it would erase the feature; torch refuses to.
    It occurs only where a patch is so small that the pooled map has one row.

    Computed as group normalization with one channel per group, which is the same function: torch's instance
    normalization goes through batch normalization, whose kernels take three to six times as long on a CPU. The
    operator is called below autocast, which would widen bfloat16 maps to 32 bits; the statistics are 32 bits anyway.
    That operator is slow on channels-last maps, and a copy would undo what convolutions gain by that layout; without
    gradients, such maps are normalized by reductions along the channels instead.

    Args:
        num_features: Number of channels C.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalize [N, C, H, W] over H and W."""
        n, c, height, width = x.shape
        if height * width == 1:
            return x
        # By the stride: torch.vmap cannot say whether a map is contiguous in that format.
        if not torch.is_grad_enabled() and x.dtype is torch.float32 and c > 1 and x.stride(1) == 1:
            y = x - x.mean((2, 3), keepdim=True)
            return y.mul_((y * y).mean((2, 3), keepdim=True).add_(self.eps).rsqrt_())
        normed: Tensor = torch.native_group_norm(x.contiguous(), None, None, n, c, height * width, c, self.eps)[0]
        return normed


def conv_block(n_in: int, n_out: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Convolution without bias, normalization and activation of maps [N, C, H, W]."""
    return [
        nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, bias=False),
        SizeSafeInstanceNorm2d(n_out),
        nn.LeakyReLU(0.2, inplace=True),  # in place: the norm's backward pass does not look at its output
    ]


class LinePooling(nn.Module):
    """Max over one axis, 1x1 convolution + norm + activation, max over the other axis.

    Args:
        channels: Number of feature channels C.
        first_axis: Axis of [N, C, H, W] that is pooled first: 3 (the width) is the paper's
            horizontal-vertical pooling, 2 (the height) its vertical-horizontal ablation.
    """

    def __init__(self, channels: int, *, first_axis: int) -> None:
        super().__init__()
        self.first_axis = first_axis
        self.mix = nn.Sequential(*conv_block(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Pool [N, C, H, W] to [N, C]."""
        lines: Tensor = self.mix(x.amax(dim=self.first_axis, keepdim=True))
        return lines.amax(dim=(2, 3))


class GlobalAveragePooling(nn.Module):
    """The mean over the map, the other ablation."""

    def forward(self, x: Tensor) -> Tensor:
        """Pool [N, C, H, W] to [N, C]."""
        return x.mean(dim=(2, 3))


def make_pooling(name: str, channels: int) -> nn.Module:
    """Build the pooling called `name`: "hv", "vh" or "gap"."""
    return GlobalAveragePooling() if name == "gap" else LinePooling(channels, first_axis={"hv": 3, "vh": 2}[name])
