"""What a model of public grades saves a hospital whose radiographs differ.

    python benchmarks/shift.py --data knees --work shift

Half of the training patients are the public ones: their knees as they are, with every grade. The other half, and the
test knees, are the hospital's: darker, with less contrast, noisier and at another scale. A model is trained on the
public half and exported. The hospital then labels random knees, and begins with that model or with nothing.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIZES, SEEDS = (50, 100, 200, 400), 5
#: The hospital's radiographs: share of a patch's side that fills it, exponent and factor of the values, noise in gray
#: levels.
ZOOM, GAMMA, CONTRAST, NOISE = 0.85, 1.6, 0.7, 6.0


def shifted(pair: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A patch pair [2, H, H] as the hospital's machine makes it."""
    side = pair.shape[-1]
    part = round(side * ZOOM)
    start = (side - part) // 2
    views = [
        cv2.resize(patch[start : start + part, start : start + part], (side, side), interpolation=cv2.INTER_LINEAR)
        for patch in pair
    ]
    values = CONTRAST * 255 * (np.stack(views) / 255) ** GAMMA + rng.normal(0, NOISE, pair.shape)
    return values.clip(0, 255).round().astype(np.uint8)


def write_halves(data: Path, work: Path) -> tuple[Path, Path]:
    """The data sets `public` and `hospital` in a folder, made where they are not there yet."""
    from kneeal.data.prepared import PreparedDataset, write_prepared

    public, hospital = work / "public", work / "hospital"
    if hospital.is_dir():
        return public, hospital
    dataset = PreparedDataset.open(data)
    frame = dataset.manifest.frame
    patients = sorted(set(frame.patient_id[frame.split != "test"]))
    chosen = set(np.random.default_rng(0).permutation(patients)[::2])
    test, own = frame.split == "test", frame.patient_id.isin(chosen)
    rng = np.random.default_rng(1)
    for out, rows in ((public, own | test), (hospital, ~own)):
        part = frame[rows]
        pairs = (dataset.patches[dataset.row[i]] for i in part.knee_id)
        if out is hospital:
            pairs = (shifted(pair, rng) for pair in pairs)
        write_prepared(
            out, part, pairs, source=str(dataset.info["source"]), options=dataset.info["options"],
            patch_px=int(dataset.info["patch_px"]),
        )  # fmt: skip
    return public, hospital


def accuracies(hospital: Path, work: Path, init: Path | None) -> dict[int, list[tuple[float, float]]]:
    """Balanced accuracy in % and kappa on the hospital's test knees, of each seed, by number of labels.

    0 labels are the exported model as it is, standardized by the hospital's knees.
    """
    from kneeal.acquisition import Needs, Posterior
    from kneeal.build.dataset import open_cohort
    from kneeal.build.runner import plain_runner
    from kneeal.build.start import make_start
    from kneeal.config import resolve
    from kneeal.loop.query import random_first_query
    from kneeal.pool import PoolState
    from kneeal.training.lightning_runner import evaluate_test

    flags = {"data.dir": str(hospital), "training.init": init and str(init), "compute.accelerator": "cpu"}
    cohort = open_cohort(resolve("frozen", flags=flags))
    pool, start = cohort.splits.train, make_start(resolve("frozen", flags=flags), cohort)
    found: dict[int, list[tuple[float, float]]] = {}
    for seed in range(SEEDS):
        runner = plain_runner(resolve("frozen", flags={**flags, "seed": seed}), cohort, start)
        order = random_first_query(pool, max(SIZES), seed)
        for n in (0, *SIZES) if init is not None and not seed else SIZES:
            labeled = {i: cohort.grades[i] for i in order[:n]}
            checkpoint = work / "best.ckpt" if n else None
            if checkpoint is not None:
                runner.fit(PoolState(labeled, tuple(i for i in pool if i not in labeled)), checkpoint, None)
            predict = partial(runner.predict, checkpoint, 0)
            metrics = evaluate_test(predict, cohort.splits.test, Needs(Posterior.POINT)).metrics
            found.setdefault(n, []).append((100 * metrics["balanced_accuracy"], metrics["quadratic_kappa"]))
    return found


def main() -> None:
    """Print a table."""
    from kneeal.config import resolve
    from kneeal.jobs.fit import run_fit
    from kneeal.jobs.process import set_up_process
    from kneeal.predict.predicting import export_run

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared data set with a test split")
    parser.add_argument("--work", type=Path, required=True, help="folder for the two halves and the public model")
    given = parser.parse_args()
    set_up_process()
    public, hospital = write_halves(given.data, given.work)
    model = given.work / "public.safetensors"
    if not model.is_file():
        everything = {"active.strategy": "random", "active.n_init": "all", "active.budget": "all"}
        whole = {"active.first_query": "random", "training.batch_size": 8192, "tracking.mode": "none"}
        config = resolve("frozen", flags={"data.dir": str(public), **everything, **whole})
        export_run(run_fit(config, given.work / "run", resume=False), model, data=None, flag_share=0.2, n_samples=2)
    print("| the hospital begins with | 0 | " + " | ".join(map(str, SIZES)) + " |")
    print("| --- " * (len(SIZES) + 2) + "|")
    for name, init in (("the public model (`--init`)", model), ("nothing", None)):
        found = accuracies(hospital, given.work, init)
        cells = [name]
        for n in (0, *SIZES):
            scores = np.array(found.get(n, np.empty((0, 2))))
            error = f"±{scores[:, 0].std(ddof=1) / len(scores) ** 0.5:.1f}" if len(scores) > 1 else ""
            cells.append(f"{scores[:, 0].mean():.1f}{error} ({scores[:, 1].mean():.2f})" if len(scores) else "")
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
