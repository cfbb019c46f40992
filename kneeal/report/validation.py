"""Grades that a run uses in addition to its labels: those of the validation knees, by which it chooses its epoch."""

from __future__ import annotations

from functools import lru_cache

from kneeal.data.manifest import Manifest
from kneeal.data.prepared import PreparedDataset
from kneeal.data.splits import make_splits
from kneeal.errors import UserError
from kneeal.report.runs import Run, Runs


def validation_grades(runs: Runs, dataset: PreparedDataset | None) -> dict[str, str]:
    """Validation grades of each setting, "352" or "350 to 353" where its seeds differ.

    Args:
        runs: The runs.
        dataset: Their data set.

    Returns:
        By the setting's label; empty where the data set is not available or cannot be split as the runs say.
    """
    if dataset is None:
        return {}
    try:
        found = {
            s.label: sorted({_n_validation(run, dataset.manifest) for run in s.runs.values()}) for s in runs.settings
        }
    except UserError:
        return {}
    return {
        label: " to ".join(f"{n:,}" for n in dict.fromkeys((sizes[0], sizes[-1]))) for label, sizes in found.items()
    }


def _n_validation(run: Run, manifest: Manifest) -> int:
    if run.config.get("data.validation", "free") != "free":
        return 0
    seed = run.seed if run.config["data.split_seed"] is None else run.config["data.split_seed"]
    return _size(manifest, run.config["data.test_site"], run.config["data.val_fraction"], int(seed))


@lru_cache(maxsize=64)
def _size(manifest: Manifest, test_site: str, fraction: float, seed: int) -> int:
    given = "test" in manifest.given_splits.values()
    return len(make_splits(manifest, test_site=None if given else test_site, val_fraction=fraction, seed=seed).val)
