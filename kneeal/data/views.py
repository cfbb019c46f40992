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

    Args:
        size: Side of the patches in px.
        rotation: Largest rotation in degrees.
        pad: Largest shift each way as a share of `size`, or the range of the shift, which holds 0.
        border: What comes from outside of the patch: its reflection ("reflect") or 0 ("black").
        each: Whether both patches of a "knee" share a view, since they are parts of one radiograph, or each "patch" has
            one of its own.
        gamma: Range of the gamma exponent.
        gamma_p: Probability of the gamma transform.
        noise_std: Range of the standard deviation of the Gaussian noise, as a share of the value range.
        noise_p: Probability of the noise.
        contrast: Range of the factor that all values are multiplied by.
        contrast_p: Probability of that.
    """

    def __init__(
        self,
        size: int,
        *,
        rotation: float = 10.0,
        pad: float | tuple[float, float] = 0.05,
        border: str = "reflect",
        each: str = "knee",
        gamma: tuple[float, float] = (0.5, 1.5),
        gamma_p: float = 0.5,
        noise_std: tuple[float, float] = (0.02, 0.08),
        noise_p: float = 0.5,
        contrast: tuple[float, float] = (1.0, 1.0),
        contrast_p: float = 0.0,
    ) -> None:
        # albumentations looks for a newer version online at import; a hospital's machine should not.
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        # Imported here: views made on the device do not need it, and its import is slow.
        import albumentations as A

        low, high = shift_range(pad, size)
        outside = cv2.BORDER_CONSTANT if border == "black" else cv2.BORDER_REFLECT_101
        contrasts = (contrast[0] - 1, contrast[1] - 1)
        self._per_patch = each == "patch"
        self._transform = A.Compose(
            [
                A.GaussNoise(std_range=noise_std, per_channel=True, p=noise_p),
                A.Rotate(limit=(-rotation, rotation), border_mode=outside, p=1.0),
                A.Pad(padding=(-low, -low, high, high), border_mode=outside, p=1.0),
                A.RandomCrop(height=size, width=size, p=1.0),
                A.RandomGamma(gamma_limit=(100 * gamma[0], 100 * gamma[1]), p=gamma_p),
                A.RandomBrightnessContrast(brightness_limit=(0, 0), contrast_limit=contrasts, p=contrast_p),
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
        if self._per_patch:
            return np.concatenate([self._view(pair[k : k + 1], (seed, k)) for k in range(2)])
        return self._view(pair, seed)

    def _view(self, patches: NDArray[np.uint8], seed: int | tuple[int, int]) -> NDArray[np.uint8]:
        # Compose.set_random_seed gives every transform the same seed, which would tie noise to gamma and the crop to
        # the angle.
        states = np.random.SeedSequence(seed).generate_state(len(self._transform.transforms))
        for transform, state in zip(self._transform.transforms, states.tolist(), strict=True):
            transform.set_random_seed(state)
        image = self._transform(image=np.ascontiguousarray(patches.transpose(1, 2, 0)))["image"]
        return np.ascontiguousarray(image.reshape(*patches.shape[1:], -1).transpose(2, 0, 1))


def shift_range(pad: float | tuple[float, float], size: int) -> tuple[int, int]:
    """The least and the largest shift in px: by at most a share of the size each way, or within a range of shares."""
    low, high = pad if isinstance(pad, tuple) else (-pad, pad)
    return round(low * size), round(high * size)


def resize(pair: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The same patches with `size` px on a side; the field of view in mm stays."""
    if pair.shape[-1] == size:
        return np.ascontiguousarray(pair)
    method = cv2.INTER_AREA if size < pair.shape[-1] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(patch, (size, size), interpolation=method) for patch in pair]).astype(np.uint8)


def normalize(pair: NDArray[np.uint8]) -> NDArray[np.float32]:
    """From 0 .. 255 to (x - 0.5) / 0.5 in [-1, 1]."""
    return pair.astype(np.float32) * np.float32(2 / 255) - np.float32(1)
