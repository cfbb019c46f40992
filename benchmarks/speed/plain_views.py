"""Random views one by one with albumentations, in a data set for a DataLoader: how plain PyTorch code makes them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

# albumentations looks for a newer version online at import.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A


class AlbumentationsViews:
    """Draws views as `kneeal.data.views.Views` does, with the same options."""

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
        low, high = (round(share * size) for share in (pad if isinstance(pad, tuple) else (-pad, pad)))
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
        """A view uint8 [2, H, H] of a pair uint8 [2, H, H]."""
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


class TwoViews(Dataset[dict[str, Any]]):
    """Two views of each knee, and its grade where there is one."""

    def __init__(self, patches: NDArray[np.uint8], views: AlbumentationsViews, kl: Sequence[int] | None) -> None:
        self.patches = patches
        self.views = views
        self.kl = kl

    def __getitem__(self, draw: tuple[int, int]) -> Mapping[str, Any]:
        """The sample at draw = (position, seed): `views` float32 [2, 2, H, H] in [-1, 1] and `kl`."""
        position, seed = draw
        views = np.stack([self.views(self.patches[position], seed + k) for k in range(2)])
        sample = {"views": views.astype(np.float32) * np.float32(2 / 255) - np.float32(1)}
        return sample if self.kl is None else {**sample, "kl": self.kl[position]}
