"""Measure the finder: ``python -m kneeal.localizer.training.evaluate [--films 500] [--faulty 100] [--pictures DIR]``.

Synthetic films know where their plateaus are. Real pictures do not: for films composed from them the reference is the
median of the marks that the fine network gives the upright picture, alone on a plain film, in six poses, carried along
with the picture. That measures whether the finder gives the same answer for any place, turn, exposure and neighbour;
it does not measure whether a reader would put the plateau there.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from kneeal.data.patches import scale_intensities
from kneeal.data.synthetic.radiographs import Film, FilmOptions, KneeOnFilm, compose_film, draw_film, scatter_poses
from kneeal.data.synthetic.radiographs.bilateral import SIZES_MM
from kneeal.localizer.detect import Finder
from kneeal.localizer.findings import Findings
from kneeal.localizer.quality import judge
from kneeal.localizer.training.samples import read_leg, real_pictures
from kneeal.localizer.training.train import mark_pictures

_MM_PER_PX = 0.4
#: Number of the first patient with a faulty film.
_FAULTY_FROM = 100_000


#: Films with a fault: what the options or the arguments of `draw_film` are, and the reasons that name it rightly.
FAULTS = {
    "swapped": ("marker_swapped",),
    "mirrored": ("marker_mirrored",),
    "missing": ("marker_missing",),
    "replaced": ("replacement",),
    "single": ("one_knee",),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Compose films, look at them, print shares."""
    parser = argparse.ArgumentParser(
        prog="python -m kneeal.localizer.training.evaluate", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--films", type=int, default=500, help="good films")
    parser.add_argument("--faulty", type=int, default=0, help="films of each fault: " + ", ".join(FAULTS))
    parser.add_argument("--seed", type=int, default=77, help="not one that the finder was trained with (9001, 9002)")
    parser.add_argument("--pictures", type=Path, help="folder of pictures of single knees, 101 mm wide")
    parser.add_argument("--weights", type=Path, help="other weights than those of the package")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    finder = Finder(options.weights)
    if options.films:
        _good(finder, options.films, options.seed, real_pictures(options.pictures) if options.pictures else [])
    for fault, named in FAULTS.items():
        if options.faulty:
            print(f"{fault}: {_faulty(finder, fault, named, options.faulty, options.seed)}", flush=True)


def _good(finder: Finder, films: int, seed: int, pictures: list[Path]) -> None:
    errors, verdicts = [], Counter[str]()
    rng = np.random.default_rng(seed)
    for k in range(films):
        look = FilmOptions(size_mm=SIZES_MM[k % len(SIZES_MM)], mm_per_px=_MM_PER_PX)
        film = _real(pictures, look, rng, finder) if pictures else draw_film(k, seed, look)
        if film is None:
            verdicts["no reference"] += 1
            continue
        findings = _find(finder, film)
        refused = judge(findings).refused
        verdicts[refused[0][1] if refused else "used"] += 1
        errors += [_error(findings, knee) for knee in film.knees]
    middle, angle = np.array(errors).T
    print(
        f"{len(errors)} knees: middle within 5 mm {(middle <= 5).mean():.1%}, "
        f"angle within 3 deg {(angle <= 3).mean():.1%}"
    )
    print(f"median {np.median(middle):.2f} mm, {np.median(angle):.2f} deg; films: {dict(verdicts)}", flush=True)


def _faulty(finder: Finder, fault: str, named: tuple[str, ...], films: int, seed: int) -> str:
    """Films with one fault: how many were set aside, and how many of these for the right reason."""
    verdicts = Counter[str]()
    for k in range(films):
        look = FilmOptions(
            size_mm=SIZES_MM[k % len(SIZES_MM)],
            mm_per_px=_MM_PER_PX,
            marker=fault if fault in ("swapped", "mirrored", "missing") else "right",
        )
        replaced = ("R", "L", "RL")[k % 3] if fault == "replaced" else ""
        # Patients of their own: none of the good films is among them.
        film = draw_film(
            _FAULTY_FROM + k, seed, look, sides="RL"[k % 2] if fault == "single" else "RL", replaced=replaced
        )
        # Whatever is wrong with a knee must be seen for itself, not for a marker that was not read.
        rule = "require" if look.marker != "right" else "ignore"
        refused = judge(_find(finder, film), markers=rule).refused
        verdicts[refused[0][1] if refused else "used"] += 1
    aside = films - verdicts["used"]
    right = sum(verdicts[reason] for reason in named)
    return f"{aside} of {films} set aside, {right} for that reason ({dict(verdicts)})"


def _find(finder: Finder, film: Film) -> Findings:
    return finder.find(scale_intensities(film.grey), (film.mm_per_px, film.mm_per_px))


def _error(findings: Findings, knee: KneeOnFilm) -> tuple[float, float]:
    """How far the nearest knee found is off, in mm and degrees."""
    return min(
        (
            (float(np.hypot(*np.subtract(found.middle_mm, knee.middle_mm))), abs(found.angle_deg - knee.angle_deg))
            for found in findings.knees
        ),
        default=(np.inf, np.inf),
    )


def _real(pictures: list[Path], look: FilmOptions, rng: np.random.Generator, finder: Finder) -> Film | None:
    legs = []
    for side in "RL":
        number = int(rng.choice([k for k, path in enumerate(pictures) if path.stem[-1] == side]))
        marks = mark_pictures(finder.fine, pictures, [number])
        if number not in marks:
            return None
        legs.append(replace(read_leg(pictures[number], side), plateau=marks[number]))
    return compose_film(legs, scatter_poses(2, look, rng), look, rng)


if __name__ == "__main__":
    main()
