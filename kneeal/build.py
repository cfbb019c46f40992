"""The one place that turns a configuration into objects."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from kneeal import __version__, acquisition, around
from kneeal.acquisition import Posterior, Strategy
from kneeal.config import RunConfig, identity, to_yaml, validate
from kneeal.data.datamodule import LoaderOptions, StoredPatches
from kneeal.data.device_views import DeviceViews
from kneeal.data.grades import N_GRADES
from kneeal.data.prepared import PreparedDataset
from kneeal.data.splits import Splits, make_splits
from kneeal.data.views import Views
from kneeal.errors import UserError
from kneeal.loop.active import ActiveLearningLoop
from kneeal.loop.events import FitProgress, LoopListener
from kneeal.loop.folder import RunFolder
from kneeal.loop.lock import LOCK
from kneeal.loop.oracle import SimulatedOracle
from kneeal.loop.query import Schedule
from kneeal.loop.stopping import stop_rule
from kneeal.networks import check_network, make_network
from kneeal.nn import ssl
from kneeal.nn.consistency import ConsistencyLoss
from kneeal.nn.mc_dropout import MonteCarloDropout
from kneeal.posterior import WITH_DROPOUT, make_runner
from kneeal.training.learner import Learner
from kneeal.training.lightning_runner import Devices, LightningRunner
from kneeal.yaml_files import read_yaml

CONFIG, RUN = "config.yaml", "run.json"


@dataclass(frozen=True)
class Cohort:
    """A data set with its division and the grades that only the oracle may see."""

    dataset: PreparedDataset
    splits: Splits
    grades: Mapping[str, int]

    def thumbnail(self, knee_id: str) -> NDArray[np.uint8]:
        """Both patches of a knee side by side, uint8 [H, 2 H]."""
        return np.concatenate(list(self.dataset.patches[self.dataset.row[knee_id]]), axis=1)


def open_cohort(config: RunConfig) -> Cohort:
    """Open the data set and divide it.

    Raises:
        UserError: There is no data set, or it cannot be divided as the configuration says.
    """
    if config.data.dir is None:
        raise UserError(
            "no data set",
            "the folder of a prepared data set",
            "give --data DIR; `kneeal demo-data --out demo-data` writes a synthetic one, `kneeal prepare` a real one",
        )
    return divide(config, PreparedDataset.open(Path(config.data.dir)))


def divide(config: RunConfig, dataset: PreparedDataset) -> Cohort:
    """A data set with the division that the configuration asks for.

    Raises:
        UserError: It cannot be divided so.
    """
    given = set(dataset.manifest.given_splits.values())
    seed = config.seed if config.data.split_seed is None else config.data.split_seed
    splits = make_splits(
        dataset.manifest,
        test_site=None if "test" in given else config.data.test_site,
        val_fraction=config.data.val_fraction,
        seed=seed,
    )
    return Cohort(dataset, splits, dataset.manifest.kl)


def make_strategies(config: RunConfig) -> tuple[Strategy, Strategy | None]:
    """The strategy that selects queries and, where it is another, the one that chooses the pseudo pool."""
    active = config.active
    strategy = acquisition.get(active.strategy, **active.options)
    pseudo = None if active.pseudo_by in ("strategy", active.strategy) else acquisition.get(active.pseudo_by)
    return strategy, pseudo if config.loss.consistency else None


def make_schedule(config: RunConfig, n_pool: int) -> Schedule:
    """How many labels to ask for, with `all` resolved to the `n_pool` training knees."""
    n_init, budget = (n_pool if n == "all" else n for n in (config.active.n_init, config.active.budget))
    # A first query of the whole pool leaves no other query, whatever its size would be.
    return Schedule(n_init, min(config.active.n_query, n_pool) if n_init == n_pool else config.active.n_query, budget)


def make_method(config: RunConfig) -> ssl.Method | None:
    """The semi-supervised method, where it is another than equation (1)."""
    loss = config.loss
    return ssl.get(loss.method, **loss.options) if loss.consistency and loss.method != "consistency" else None


def build_runner(config: RunConfig, cohort: Cohort, progress: FitProgress | None = None) -> LightningRunner:
    """The Lightning runner."""
    training, loss, views = config.training, config.loss, config.views
    make_method(config)  # refuses an unknown method now rather than in a fit
    if training.batch_size % config.compute.devices:
        raise UserError(
            f"a batch of {training.batch_size} knees for {config.compute.devices} devices",
            "a batch size (it counts the knees of all devices) that the number of devices divides",
            "set training.batch_size to a multiple of --devices",
        )

    def make_learner(network: nn.Module) -> Learner:
        return Learner(
            network,
            consistency=ConsistencyLoss(loss.target) if loss.consistency and loss.method == "consistency" else None,
            method=make_method(config),
            weight=loss.weight,
            ramp_up_epochs=loss.ramp_up_epochs,
            learning_rate=training.learning_rate,
            betas=training.betas,
            weight_decay=training.weight_decay,
            milestones=training.milestones,
            factor=training.factor,
            n_grades=N_GRADES,
            compile_mode=None if config.compute.compile == "none" else config.compute.compile,
        )

    return LightningRunner(
        make_network=lambda: make_network(config),
        make_learner=make_learner,
        patches=StoredPatches(cohort.dataset.patches, cohort.dataset.row),
        val=cohort.splits.val,
        test=cohort.splits.test,
        views=(DeviceViews if views.where == "device" else Views)(
            config.data.patch_size, **views.model_dump(exclude={"where"})
        ),
        options=LoaderOptions(
            patch_size=config.data.patch_size,
            batch_size=training.batch_size,
            eval_batch_size=training.eval_batch_size,
            workers=config.data.workers,
        ),
        devices=Devices(config.compute.accelerator, config.compute.devices, config.compute.precision),
        epochs=training.epochs,
        validate_every=training.validate_every,
        consistency=loss.consistency,
        seed=config.seed,
        progress=progress,
    )


def build_loop(
    config: RunConfig,
    cohort: Cohort,
    folder: RunFolder,
    *,
    listeners: Sequence[LoopListener] = (),
    progress: FitProgress | None = None,
) -> ActiveLearningLoop:
    """The loop of one run, at the point where its folder says it is."""
    strategy, pseudo = make_strategies(config)
    check_network(config)
    samples = Posterior.SAMPLES in {s.posterior for s in (strategy, pseudo) if s is not None}
    if config.posterior.method in WITH_DROPOUT and samples:
        MonteCarloDropout(make_network(config))  # refuses a network without dropout now rather than after a fit
    active, schedule = config.active, make_schedule(config, len(cohort.splits.train))
    strategy = around.constrain(
        strategy, active.constraints, cohort.dataset.manifest, cohort.splits.train, schedule.budget
    )
    runner = make_runner(config, lambda c: build_runner(c, cohort, progress))
    return ActiveLearningLoop(
        runner,
        strategy,
        cohort.splits.train,
        folder,
        schedule,
        consistency=config.loss.consistency,
        pseudo_strategy=pseudo,
        warm_start=config.training.start == "warm",
        n_grades=N_GRADES,
        seed=config.seed,
        listeners=listeners,
        first_query=around.first_query(config, cohort, runner, schedule.budget),
        stop=stop_rule(active.stop_when, active.stop_options),
    )


def build_oracle(cohort: Cohort) -> SimulatedOracle:
    """The oracle that answers from the manifest.

    Raises:
        UserError: The grade of a training knee is not known; better said now than in the middle of a run.
    """
    oracle = SimulatedOracle(cohort.grades)
    oracle.label(cohort.splits.train)
    return oracle


def default_out(config: RunConfig) -> Path:
    """The folder of a run that was given none: a function of the configuration, never of the time."""
    kind = "cr" if config.loss.consistency else "naive"
    text = json.dumps([identity(config), config.data.dir and str(Path(config.data.dir).resolve())], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return Path("runs") / f"{config.active.strategy}-{kind}-seed{config.seed}-{digest}"


def run_id(config: RunConfig, cohort: Cohort) -> str:
    """A name for a run that is the same for the same configuration and data."""
    text = json.dumps([identity(config), fingerprint(cohort.dataset.info)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def open_run(out: Path, config: RunConfig, cohort: Cohort, *, resume: bool, writer: bool = True) -> RunFolder:
    """Begin a run folder, or go on with one of the same configuration and data.

    A folder that holds nothing but a configuration is as good as new: its run was refused before it began.

    Args:
        out: The folder.
        config: The resolved configuration.
        cohort: The data.
        resume: Whether to go on with a run that is there.
        writer: Whether this process writes.

    Raises:
        UserError: A run is there and `resume` is not set, or it belongs to another configuration or data set.
    """
    folder = RunFolder(out, writer=writer)
    occupied = out.is_file() or (out.is_dir() and any(path.name not in (CONFIG, RUN, LOCK) for path in out.iterdir()))
    if (out / CONFIG).is_file() and occupied:
        if writer and not resume:
            raise UserError(
                f"{out} holds a run already", "a new folder", "add --resume to go on with it, or give another --out"
            )
        _refuse_other_run(out, config, cohort)
    elif occupied:
        raise UserError(f"{out} is not empty and holds no run", "a new or empty folder, or a run", "give another --out")
    folder.write_json(out / RUN, {"kneeal": __version__, "dataset": fingerprint(cohort.dataset.info)})
    folder.write_text(out / CONFIG, to_yaml(config))
    return folder


def fingerprint(info: Mapping[str, Any]) -> str:
    """What identifies a data set, whatever folder it lies in."""
    return hashlib.sha256(json.dumps(info["checksums"], sort_keys=True).encode()).hexdigest()


def _refuse_other_run(out: Path, config: RunConfig, cohort: Cohort) -> None:
    before, now = identity(validate(read_yaml(out / CONFIG))), identity(config)
    differing = [
        f"{key} ({before.get(key)!r} there, {now.get(key)!r} now)" for key in now if before.get(key) != now[key]
    ]
    if differing:
        raise UserError(
            f"{out} belongs to another configuration: {', '.join(differing)}",
            "the configuration that the run was started with",
            "give the same options, or another --out",
        )
    made_of = json.loads((out / RUN).read_text(encoding="utf-8"))["dataset"] if (out / RUN).is_file() else None
    if made_of not in (None, fingerprint(cohort.dataset.info)):
        raise UserError(
            f"{out} belongs to another data set than {config.data.dir}",
            "the data set that the run was started with",
            "give the same --data, or another --out",
        )
