"""Dropout whose masks a CPU draws quickly."""

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
