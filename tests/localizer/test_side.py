"""The side of a knee from its patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kneeal.data.patches import cut_patch_pair, scale_intensities
from kneeal.localizer.pose import find_side
from kneeal.radiograph.picture import read_codes


def test_exchanging_the_patches_exchanges_the_side() -> None:
    pair = np.random.default_rng(0).integers(0, 256, (2, 128, 128), np.uint8)
    assert {find_side(pair), find_side(pair[::-1])} == {"R", "L"}


def test_the_side_of_real_knees_is_found(shared_data: Path) -> None:
    paths = sorted((shared_data / "oai_knees" / "val").glob("*/*.png"))[::5]
    found = [
        find_side(cut_patch_pair(scale_intensities(read_codes(path)), 101 / 224, "R", joint_offset_mm=3.0))
        for path in paths
    ]
    assert len(paths) > 150 and np.mean([side == path.stem[-1] for side, path in zip(found, paths, strict=True)]) > 0.95
