"""Measure the finder: ``python -m kneeal.finder.evaluate [--films 500] [--pictures DIR]``.

Synthetic films know where their plateaus are. Real pictures do not: for films composed from them the reference is the
median of the marks that the fine network gives the upright picture, alone on a plain film, in six poses, carried along
with the picture. That measures whether the finder gives the same answer for any place, turn, exposure and neighbour;
it does not measure whether a reader would put the plateau there.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from kneeal.data.patches import scale_intensities
from kneeal.films import Film, FilmOptions, KneeOnFilm, compose_film, draw_film, scatter_poses
from kneeal.films.bilateral import SIZES_MM
from kneeal.finder.detect import Finder, Findings
from kneeal.finder.quality import judge
from kneeal.finder.samples import read_leg, real_pictures
from kneeal.finder.train import mark_pictures


def main() -> None:
    """Compose films, look at them, print shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=int, default=500)
    parser.add_argument("--seed", type=int, default=77, help="not one that the finder was trained with (9001, 9002)")
    parser.add_argument("--pictures", type=Path, help="folder of pictures of single knees, 101 mm wide")
    options = parser.parse_args()
    torch.set_num_threads(1)
    finder = Finder()
    errors, verdicts = [], Counter[str]()
    pictures = real_pictures(options.pictures) if options.pictures else []
    rng = np.random.default_rng(options.seed)
    for k in range(options.films):
        look = FilmOptions(size_mm=SIZES_MM[k % len(SIZES_MM)], mm_per_px=0.4)
        film = _real(pictures, look, rng, finder) if pictures else draw_film(k, options.seed, look)
        if film is None:
            verdicts["no reference"] += 1
            continue
        findings = finder.find(scale_intensities(film.grey), (0.4, 0.4))
        refused = judge(findings).refused
        verdicts[refused[0][1] if refused else "used"] += 1
        errors += [_error(findings, knee) for knee in film.knees]
    middle, angle = np.array(errors).T
    print(
        f"{len(errors)} knees: middle within 5 mm {(middle <= 5).mean():.1%}, "
        f"angle within 3 deg {(angle <= 3).mean():.1%}"
    )
    print(f"median {np.median(middle):.2f} mm, {np.median(angle):.2f} deg; films: {dict(verdicts)}")


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
