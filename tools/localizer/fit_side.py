"""Fit the rule that tells right knees from left ones: `python -m tools.localizer.fit_side --pictures DIR`.

Logistic regression without an intercept on pictures of single knees whose file names end in L or R, each at a width and
a height of the joint that vary, with a quadratic penalty on the weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kneeal.data.patches import cut_patch_pair, scale_intensities
from kneeal.localizer.pose import CONTRAST_PX, contrast
from kneeal.radiograph.picture import read_codes
from tools.localizer.samples import REAL_WIDTH_MM, real_pictures

_PENALTY, _STEPS, _SEED = 30.0, 30, 0
#: By how much the width of a picture and the height of its joint vary, and the joint's usual height, in mm.
_WIDTH_MM, _HEIGHT_MM, _JOINT_MM = (-6.0, 12.0), 4.0, 3.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit on one folder, print how often the rule is right on another, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, required=True, help="pictures of single knees, 101 mm wide")
    parser.add_argument("--check", type=Path, required=True, help="others, to measure with")
    parser.add_argument("--out", type=Path, required=True, help="where the weights go (.npy)")
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(_SEED)
    weights = fit(*_samples(options.pictures, rng)).reshape(CONTRAST_PX, CONTRAST_PX).astype(np.float16)
    np.save(options.out, weights)
    contrasts, signs = _samples(options.check, None)
    margins = signs * (contrasts @ weights.astype(np.float64).ravel())
    print(f"right for {(margins > 0).mean():.1%} of {len(margins)} pictures")


def fit(contrasts: NDArray[np.float64], signs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights [n] from contrasts [B, n] and signs [B], 1 for a right knee and -1 for a left one."""
    signed = contrasts * signs[:, None]
    weights = np.zeros(contrasts.shape[1])
    for _ in range(_STEPS):
        wrong = 1 / (1 + np.exp(signed @ weights))
        gradient = _PENALTY * weights - signed.T @ wrong
        curvature = (signed * (wrong * (1 - wrong))[:, None]).T @ signed + _PENALTY * np.eye(len(weights))
        weights -= np.linalg.solve(curvature, gradient)
    return weights


def _samples(folder: Path, rng: np.random.Generator | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    contrasts, signs = [], []
    for path in real_pictures(folder):
        picture = scale_intensities(read_codes(path))
        wider, higher = (0.0, 0.0) if rng is None else (rng.uniform(*_WIDTH_MM), rng.uniform(-_HEIGHT_MM, _HEIGHT_MM))
        scale = (REAL_WIDTH_MM + wider) / picture.shape[1]
        pair = cut_patch_pair(picture, scale, "R", joint_offset_mm=_JOINT_MM + higher)
        contrasts.append(contrast(pair).ravel().astype(np.float64))
        signs.append(1.0 if path.stem[-1] == "R" else -1.0)
    return np.array(contrasts), np.array(signs)


if __name__ == "__main__":
    main()
