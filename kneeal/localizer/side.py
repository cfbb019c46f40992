"""Which side a knee is, from its patches: the fibula and the shape of the condyles tell lateral from medial.

A linear rule on the difference of both patches, so that exchanging them exchanges the answer. Its 256 weights were
fitted by ``python -m tools.localizer.fit_side``; how often it is right is in docs/prepare.md.
"""

from functools import cache
from importlib.resources import as_file, files

import cv2
import numpy as np
from numpy.typing import NDArray

#: File with the weights that ship with the package, float16 [16, 16].
WEIGHTS = "side.npy"
SIZE_PX = 16


def find_side(pair: NDArray[np.uint8]) -> str:
    """The side, "R" or "L", of a knee whose patches uint8 [2, 128, 128] were cut as those of a right knee."""
    return "R" if float((_weights() * contrast(pair)).sum()) >= 0 else "L"


def contrast(pair: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The second patch minus the first, float32 [16, 16] within -1 .. 1."""
    first, second = (cv2.resize(patch, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA) for patch in pair)
    return np.asarray((second.astype(np.float32) - first.astype(np.float32)) / 255, np.float32)


@cache
def _weights() -> NDArray[np.float32]:
    with as_file(files("kneeal.localizer").joinpath(WEIGHTS)) as path:
        return np.asarray(np.load(path, allow_pickle=False), np.float32)
