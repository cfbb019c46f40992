"""A cohort of synthetic knees: patients, sites, exposures, and the prepared data set that holds them.

Sites. Known of the paper's Table 1: 8,953 knees at five sites, 8,050 of them at the training sites A to D, 903 at
the test site E, and grades that sum to 1,882 at site B. The other three are not given separately: that they share the
remaining 6,168 knees as 1,800, 2,368 and 2,000 (A, C, D) is an assumption, as is that the grades follow the same
distribution at every site (`anatomy.GRADE_SHARES`, measured on the OAI baseline pictures).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kneeal.data.patches import FIELD_PX, MM_PER_PX, cut_patch_pair, scale_intensities
from kneeal.data.prepared import refuse_occupied, write_prepared
from kneeal.data.synthetic.anatomy import Correlated, draw_anatomy, draw_latent
from kneeal.data.synthetic.render import RADIOGRAPH_PX, Exposure, draw_knee

#: Knees by site; B, E and the sum are the paper's, A, C and D are assumed (see the module).
SITE_KNEES = {"A": 1800, "B": 1882, "C": 2368, "D": 2000, "E": 903}

# Modest differences between the sites' equipment: contrast, sharpening, noise (factors) and level (added).
_SITE_LOOK = {
    "A": (1.00, 1.0, 1.0, 0.00),
    "B": (1.12, 1.3, 0.9, 0.03),
    "C": (0.92, 0.8, 1.1, -0.03),
    "D": (1.05, 1.0, 1.2, 0.00),
    "E": (0.88, 1.2, 1.3, -0.06),
}
_GOLDEN = (5**0.5 - 1) / 2
_BORDER_PX = (RADIOGRAPH_PX - FIELD_PX) // 2
_PATIENT, _LOOK = 0, 3  # streams of a patient; 1 and 2 are those of the right and the left knee


def patient_site(patient: int, seed: int) -> str:
    """Site of a patient: shares of `SITE_KNEES`, met closely in every run of consecutive patients."""
    # A golden-ratio sequence spreads evenly, so that a cohort of a few hundred knees has every site as well.
    start = float(np.random.default_rng((seed, 0, _LOOK)).random())
    edges = np.cumsum(list(SITE_KNEES.values()))
    position = (start + patient * _GOLDEN) % 1.0 * edges[-1]
    return tuple(SITE_KNEES)[int(np.searchsorted(edges[:-1], position, "right"))]


def draw_exposure(site: str, rng: np.random.Generator) -> Exposure:
    """Draw how the knees of one patient were exposed and processed at a site."""
    contrast, sharpen, noise, level = _SITE_LOOK[site]
    crisp = rng.random() < 0.6
    burnt = rng.random() < 0.2
    white = float(np.clip(rng.normal(240, 22), 110, 255))
    edges = [float(rng.uniform(53, 69)) if rng.random() < 0.15 else 99.0 for _ in range(2)]
    return Exposure(
        level=float(rng.normal(0.93 if burnt else 1.32, 0.12)) + level,
        contrast=float(np.exp(rng.normal(np.log(2.1 if crisp else 2.5), 0.25))) * contrast * (1.2 if burnt else 1.0),
        black=float(np.clip(rng.normal(8, 25), 0, 0.4 * white)),
        white=white,
        sharpen=float(rng.uniform(0.2, 1.0)) * sharpen if crisp else float(rng.uniform(0.0, 0.3)),
        blur_mm=float(rng.uniform(0.20, 0.30)) if crisp else float(rng.uniform(0.30, 0.55)),
        noise=float(np.exp(rng.normal(np.log(0.012), 0.4))) * noise,
        grain=float(np.exp(rng.normal(np.log(0.024 if crisp else 0.009), 0.3))),
        soft_mm=float(np.clip(rng.normal(61, 6), 49, 78)),
        gradient=(float(rng.normal(0, 0.08)), float(rng.normal(-0.26, 0.12))),
        collimation=((edges[0], float(rng.normal(0, 1.5))), (edges[1], float(rng.normal(0, 1.5)))),
        inverted=bool(rng.random() < 0.012),
    )


def draw_synthetic(patient: int, side: str, seed: int) -> tuple[dict[str, object], NDArray[np.uint8]]:
    """Draw one knee of one patient; it depends on these three alone, not on how many others are drawn.

    Returns:
        The row of the manifest (knee_id, patient_id, side, site, kl), and the radiograph [382, 382] of 140 mm.
    """
    own = np.random.default_rng((seed, patient + 1, 1 if side == "R" else 2))
    numbers = Correlated(np.random.default_rng((seed, patient + 1, _PATIENT)), own)
    severity, kl = draw_latent(numbers)
    anatomy = draw_anatomy(severity, numbers)
    site = patient_site(patient, seed)
    exposure = draw_exposure(site, np.random.default_rng((seed, patient + 1, _LOOK)))
    # Both knees are on one radiograph, but each lies differently in the beam.
    exposure = replace(
        exposure,
        level=exposure.level + float(own.normal(0, 0.04)),
        gradient=(exposure.gradient[0] + float(own.normal(0, 0.04)), exposure.gradient[1]),
    )
    name = f"S{patient + 1:05d}"
    row = {"knee_id": f"{name}_{side}", "patient_id": name, "side": side, "site": site, "kl": kl}
    return row, draw_knee(anatomy, exposure, side, own)


def synthetic_cohort(n_knees: int, seed: int) -> Iterator[tuple[dict[str, object], NDArray[np.uint8]]]:
    """Knees of a synthetic cohort, patient by patient, right knee first; a larger cohort begins with the smaller one.

    Yields:
        The row of the manifest (knee_id, patient_id, side, site, kl) and the patch pair uint8 [2, 128, 128], medial
        then lateral.
    """
    for index in range(n_knees):
        side = "RL"[index % 2]
        row, radiograph = draw_synthetic(index // 2, side, seed)
        # The field of the patches stands for the radiograph, whose own border is mostly empty.
        field = radiograph[_BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX]
        yield row, cut_patch_pair(scale_intensities(field), MM_PER_PX, side)


def write_synthetic(
    out: Path, *, n_knees: int = 2000, seed: int = 0, progress: Callable[[int], None] = lambda n: None
) -> Path:
    """Write a synthetic cohort as a prepared data set in a new or empty folder, and return the folder.

    The split column is empty: by default site E is the test set and the rest is split by patient.
    """
    refuse_occupied(out)
    rows, patches = [], []
    for row, pair in synthetic_cohort(n_knees, seed):
        rows.append(row)
        patches.append(pair)
        progress(1)
    write_prepared(out, pd.DataFrame(rows), patches, source="synthetic", options={"n_knees": n_knees, "seed": seed})
    return out
