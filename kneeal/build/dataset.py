"""From `data.*` to a data set with its split."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kneeal.config import RunConfig
from kneeal.data.prepared import PreparedDataset
from kneeal.data.splits import Splits, Validation, make_splits
from kneeal.errors import UserError


@dataclass(frozen=True)
class Cohort:
    """A data set with its splits and the grades that only the oracle may see."""

    dataset: PreparedDataset  #: The data set.
    splits: Splits  #: Its training, validation and test knees.
    validation: Validation  #: How a round chooses its epoch.
    grades: Mapping[str, int]  #: Knee id to KL grade, of all knees whose grade is known.


def open_cohort(config: RunConfig) -> Cohort:
    """Open the data set and split it."""
    if config.data.dir is None:
        raise UserError(
            "no data set",
            "the folder of a prepared data set",
            "give --data DIR; `kneeal demo-data --out demo-data` writes a synthetic one, `kneeal prepare` a real one",
        )
    return split(config, PreparedDataset.open(Path(config.data.dir)))


def split(config: RunConfig, dataset: PreparedDataset) -> Cohort:
    """Split a data set as configured."""
    given = set(dataset.manifest.column("split").values())
    seed = config.seed if config.data.split_seed is None else config.data.split_seed
    splits = make_splits(
        dataset.manifest,
        test_site=None if "test" in given else config.data.test_site,
        val_fraction=config.data.val_fraction if config.data.validation == "free" else None,
        seed=seed,
    )
    share = config.data.val_fraction if config.data.validation == "budget" else 0.0
    validation = Validation(splits.val, share, dataset.manifest.patients, seed)
    return Cohort(dataset, splits, validation, dataset.manifest.kl)
