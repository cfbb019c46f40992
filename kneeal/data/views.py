"""Random views of a patch pair, by albumentations, and the normalization that all inputs share.

The transforms and their ranges are those of Nguyen et al., "Semixup", IEEE Transactions on Medical Imaging, 2020.
"""

from __future__ import annotations

import os

import cv2
import numpy as np
from numpy.typing import NDArray


class Views:
    """Draw one random view of a patch pair.

    Both patches of a knee get the same view: they are two parts of one radiograph.

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
        # albumentations looks for a newer version online at import; a hospital's machine should not.
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        # Imported here: views made on the device do not need it, and its import is slow.
        import albumentations as A

        margin = round(pad * size)
        self._transform = A.Compose(
            [
                A.GaussNoise(std_range=noise_std, per_channel=True, p=noise_p),
                A.Rotate(limit=(-rotation, rotation), border_mode=cv2.BORDER_REFLECT_101, p=1.0),
                A.Pad(padding=margin, border_mode=cv2.BORDER_REFLECT_101, p=1.0),
                A.RandomCrop(height=size, width=size, p=1.0),
                A.RandomGamma(gamma_limit=(100 * gamma[0], 100 * gamma[1]), p=gamma_p),
            ]
        )

    def __call__(self, pair: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        """A view that is a function of the pair and the seed alone.

        Args:
            pair: uint8 [2, H, H].
            seed: Any integer of 0 or more.

        Returns:
            uint8 [2, H, H].
        """
        # Compose.set_random_seed gives every transform the same seed, which would tie noise to gamma and the crop to
        # the angle.
        states = np.random.SeedSequence(seed).generate_state(len(self._transform.transforms))
        for transform, state in zip(self._transform.transforms, states.tolist(), strict=True):
            transform.set_random_seed(state)
        image = self._transform(image=np.ascontiguousarray(pair.transpose(1, 2, 0)))["image"]
        return np.ascontiguousarray(image.transpose(2, 0, 1))


def resize(pair: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The same patches with `size` px on a side; the field of view in mm stays."""
    if pair.shape[-1] == size:
        return np.ascontiguousarray(pair)
    method = cv2.INTER_AREA if size < pair.shape[-1] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(patch, (size, size), interpolation=method) for patch in pair]).astype(np.uint8)


def normalize(pair: NDArray[np.uint8]) -> NDArray[np.float32]:
    """From 0 .. 255 to (x - 0.5) / 0.5 in [-1, 1]."""
    return pair.astype(np.float32) * np.float32(2 / 255) - np.float32(1)
