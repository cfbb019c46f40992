"""The small encoder that ships with the package: thirteen blocks of EfficientNet-Lite0, and a projection.

Source:
    Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; the Lite
    variants leave out squeeze-and-excitation and take ReLU6. docs/encoders.md says where the weights come from.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Its name in `model.backbone`.
KNEE_ENCODER = "knee_encoder"
#: Stages up to the second block with a stride of 32 px: expansion, kernel, stride of the first block, output channels,
#: number of blocks.
_STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 2))
#: The blocks one by one: expansion, kernel, stride, output channels.
BLOCKS = [
    (expansion, kernel, stride if number == 0 else 1, n_out)
    for expansion, kernel, stride, n_out, n_blocks in _STAGES
    for number in range(n_blocks)
]
#: Rows and columns of cells in which the middle rows of the map behind a block, counted from 0, are averaged.
CELLS = {10: (1, 2), 12: (1, 1)}
#: Features of a patch.
N_FEATURES = 128
#: Added to the standard deviation of a patch in [-1, 1], so that an empty one is not enlarged to noise.
_SPREAD = 0.04


class KneeEncoder(nn.Module):
    """Features of a patch around the joint line, where osteophytes and the joint space are.

    Each patch is standardized on its own, since exposure differs more between radiographs than anything else does.
    The features are a projection of the means of two maps over their middle rows, the larger map's in its left and
    right half. The projection keeps what differs between knees and little between views of one knee.

    Attributes:
        n_features: Features F per patch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _SameConv(1, 32, 3, 2)
        n_in = 32
        self.blocks = nn.Sequential()
        for expansion, kernel, stride, n_out in BLOCKS:
            self.blocks.append(_Block(n_in, expansion, kernel, stride, n_out))
            n_in = n_out
        n_means = sum(BLOCKS[number][3] * rows * columns for number, (rows, columns) in CELLS.items())
        self.projection = nn.Linear(n_means, N_FEATURES)
        self.n_features = N_FEATURES

    def forward(self, patches: Tensor) -> Tensor:
        """The features [N, F] of patches [N, 1, H, H] in [-1, 1]."""
        features: Tensor = self.projection(self.means(patches))
        return features

    def means(self, patches: Tensor) -> Tensor:
        """What is projected [N, M]: the means of the maps over their cells."""
        spread, mean = patches.std((2, 3), keepdim=True), patches.mean((2, 3), keepdim=True)
        x = self.stem((patches - mean) / (spread + _SPREAD))
        means = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in CELLS:
                quarter = x.shape[2] // 4
                middle = x[:, :, quarter : x.shape[2] - quarter]
                means.append(F.adaptive_avg_pool2d(middle, CELLS[number]).flatten(1))
        return torch.cat(means, 1)


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
