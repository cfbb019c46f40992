"""The small encoder that ships with the package: the first eleven blocks of EfficientNet-Lite0, on gray patches.

Source:
    Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; the Lite
    variants leave out squeeze-and-excitation and take ReLU6. docs/encoders.md says where the weights come from.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

#: Its name in `model.backbone`.
KNEE_ENCODER = "knee_encoder"
#: Blocks up to the last one with a stride of 16 px: expansion, kernel, stride, output channels.
BLOCKS = (
    (1, 3, 1, 16),
    (6, 3, 2, 24),
    (6, 3, 1, 24),
    (6, 5, 2, 40),
    (6, 5, 1, 40),
    (6, 3, 2, 80),
    (6, 3, 1, 80),
    (6, 3, 1, 80),
    (6, 5, 1, 112),
    (6, 5, 1, 112),
    (6, 5, 1, 112),
)
#: Rows and columns of cells in which the middle rows of the map are averaged.
_CELLS = (1, 2)
#: Added to the standard deviation of a patch in [-1, 1], so that an empty one is not enlarged to noise.
_SPREAD = 0.04


class KneeEncoder(nn.Module):
    """Features of a patch around the joint line, where osteophytes and the joint space are.

    Each patch is standardized on its own, since exposure differs more between radiographs than anything else does.
    The features are the means of the last map over the left and the right half of its middle rows.

    Args:
        blocks: Expansion, kernel, stride and output channels of each block.

    Attributes:
        n_features: Features F per patch.
    """

    def __init__(self, blocks: Sequence[tuple[int, int, int, int]] = BLOCKS) -> None:
        super().__init__()
        self.stem = _SameConv(1, 32, 3, 2)
        n_in = 32
        self.blocks = nn.Sequential()
        for expansion, kernel, stride, n_out in blocks:
            self.blocks.append(_Block(n_in, expansion, kernel, stride, n_out))
            n_in = n_out
        self.n_features = n_in * _CELLS[0] * _CELLS[1]

    def forward(self, patches: Tensor) -> Tensor:
        """The features [N, F] of patches [N, 1, H, H] in [-1, 1]."""
        spread, mean = patches.std((2, 3), keepdim=True), patches.mean((2, 3), keepdim=True)
        x = self.blocks(self.stem((patches - mean) / (spread + _SPREAD)))
        quarter = x.shape[2] // 4
        return F.adaptive_avg_pool2d(x[:, :, quarter : x.shape[2] - quarter], _CELLS).flatten(1)


class _SameConv(nn.Conv2d):
    """A convolution with a bias, padded as TensorFlow pads, with ReLU6 where it activates."""

    def __init__(
        self, n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1, *, activates: bool = True
    ) -> None:
        super().__init__(n_in, n_out, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups)
        self.activates = activates

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride > 1:
            # An odd padding has its extra pixel below and to the right, which Conv2d itself cannot do.
            pads = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in (x.shape[3], x.shape[2])]
            x = F.pad(x, [part for pad in pads for part in (pad // 2, pad - pad // 2)])
        y = super().forward(x)
        return F.relu6(y, inplace=True) if self.activates else y


class _Block(nn.Sequential):
    """Expand, convolve each channel, project; with a shortcut where the shape stays."""

    def __init__(self, n_in: int, expansion: int, kernel: int, stride: int, n_out: int) -> None:
        n_mid = n_in * expansion
        expand = [_SameConv(n_in, n_mid, 1)] if expansion > 1 else []
        each, project = _SameConv(n_mid, n_mid, kernel, stride, n_mid), _SameConv(n_mid, n_out, 1, activates=False)
        super().__init__(*expand, each, project)
        self.shortcut = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return x + y if self.shortcut else y
