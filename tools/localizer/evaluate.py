"""Measure the localizer: `python -m tools.localizer.evaluate [--radiographs N] [--faulty N]`.

Synthetic radiographs know where their plateaus are. Real pictures do not: for radiographs composed from them the
reference is the median of the marks that the fine network gives the upright picture, alone on a plain radiograph, in
six poses, carried along with the picture. That measures whether the localizer gives the same answer for any place,
turn, exposure and neighbor; it does not measure whether a reader would put the plateau there.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from kneeal.data.patches import scale_intensities
from kneeal.localizer.detect import Localizer
from kneeal.localizer.quality import Localization, SelectionRules, SideEvidence, select_knees
from tools.localizer.samples import MarkedPicture, real_pictures
from tools.localizer.train import mark_pictures
from tools.radiographs import (
    KneeOnRadiograph,
    RadiographOptions,
    SyntheticRadiograph,
    compose_radiograph,
    draw_radiograph,
    scatter_poses,
)
from tools.radiographs.bilateral import SIZES_MM

_MM_PER_PX = 0.4
#: Number of the first patient with a faulty radiograph.
_FAULTY_FROM = 100_000


#: Radiographs with a fault: what the options or the arguments of `draw_radiograph` are, and the reasons that name it
#: rightly.
FAULTS = {
    "swapped": ("marker_swapped",),
    "mirrored": ("marker_mirrored",),
    "missing": ("marker_missing",),
    "replaced": ("replacement",),
    "single": ("one_knee", "one_of_two"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Compose radiographs, look at them, print shares."""
    parser = argparse.ArgumentParser(prog="python -m tools.localizer.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("--radiographs", type=int, default=500, help="good radiographs")
    parser.add_argument("--faulty", type=int, default=0, help="radiographs of each fault: " + ", ".join(FAULTS))
    parser.add_argument("--seed", type=int, default=77, help="not one that the localizer was trained with (9001, 9002)")
    parser.add_argument("--pictures", type=Path, help="folder of pictures of single knees, 101 mm wide")
    parser.add_argument("--weights", type=Path, help="other weights than those of the package")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    localizer = Localizer(options.weights)
    if options.radiographs:
        _good(localizer, options.radiographs, options.seed, real_pictures(options.pictures) if options.pictures else [])
    for fault, named in FAULTS.items():
        if options.faulty:
            print(f"{fault}: {_faulty(localizer, fault, named, options.faulty, options.seed)}", flush=True)


def _good(localizer: Localizer, radiographs: int, seed: int, pictures: list[Path]) -> None:
    errors, outcomes = [], Counter[str]()
    rng = np.random.default_rng(seed)
    for k in range(radiographs):
        look = RadiographOptions(size_mm=SIZES_MM[k % len(SIZES_MM)], mm_per_px=_MM_PER_PX)
        radiograph = _real(pictures, look, rng, localizer) if pictures else draw_radiograph(k, seed, look)
        if radiograph is None:
            outcomes["no reference"] += 1
            continue
        localization = _find(localizer, radiograph)
        rejected = select_knees(localization, evidence=_evidence(radiograph)).rejected
        outcomes[rejected[0][1] if rejected else "used"] += 1
        errors += [_error(localization, knee) for knee in radiograph.knees]
    center, angle = np.array(errors).T
    print(
        f"{len(errors)} knees: center within 5 mm {(center <= 5).mean():.1%}, "
        f"angle within 3 deg {(angle <= 3).mean():.1%}"
    )
    print(f"median {np.median(center):.2f} mm, {np.median(angle):.2f} deg; radiographs: {dict(outcomes)}", flush=True)


def _faulty(localizer: Localizer, fault: str, named: tuple[str, ...], radiographs: int, seed: int) -> str:
    """Radiographs with one fault: how many were rejected, and how many of these for the right reason."""
    outcomes = Counter[str]()
    for k in range(radiographs):
        look = RadiographOptions(
            size_mm=SIZES_MM[k % len(SIZES_MM)],
            mm_per_px=_MM_PER_PX,
            marker=fault if fault in ("swapped", "mirrored", "missing") else "right",
        )
        replaced = ("R", "L", "RL")[k % 3] if fault == "replaced" else ""
        # Patients of their own: none of the good radiographs is among them.
        radiograph = draw_radiograph(
            _FAULTY_FROM + k, seed, look, sides="RL"[k % 2] if fault == "single" else "RL", replaced=replaced
        )
        # Whatever is wrong with a knee must be seen for itself, not for a marker that was not read.
        rule = "require" if look.marker != "right" else "ignore"
        rejected = select_knees(_find(localizer, radiograph), SelectionRules(rule), _evidence(radiograph)).rejected
        outcomes[rejected[0][1] if rejected else "used"] += 1
    aside = radiographs - outcomes["used"]
    right = sum(outcomes[reason] for reason in named)
    return f"{aside} of {radiographs} rejected, {right} for that reason ({dict(outcomes)})"


def _find(localizer: Localizer, radiograph: SyntheticRadiograph) -> Localization:
    return localizer.find(scale_intensities(radiograph.gray), (radiograph.mm_per_px, radiograph.mm_per_px))


def _evidence(radiograph: SyntheticRadiograph) -> SideEvidence:
    return SideEvidence(width_mm=radiograph.gray.shape[1] * radiograph.mm_per_px)


def _error(localization: Localization, knee: KneeOnRadiograph) -> tuple[float, float]:
    """How far the nearest knee found is off, in mm and degrees."""
    return min(
        (
            (float(np.hypot(*np.subtract(found.center_mm, knee.center_mm))), abs(found.angle_deg - knee.angle_deg))
            for found in localization.knees
        ),
        default=(np.inf, np.inf),
    )


def _real(
    pictures: list[Path], look: RadiographOptions, rng: np.random.Generator, localizer: Localizer
) -> SyntheticRadiograph | None:
    legs = []
    for side in "RL":
        number = int(rng.choice([k for k, path in enumerate(pictures) if path.stem[-1] == side]))
        marks = mark_pictures(localizer.fine, pictures, [number])
        if number not in marks:
            return None
        legs.append(MarkedPicture(pictures[number], marks[number]).leg(side))
    return compose_radiograph(legs, scatter_poses(2, look, rng), look, rng)


if __name__ == "__main__":
    main()
