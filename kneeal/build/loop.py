"""From a configuration to a runner and to the loop of a run."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from kneeal.acquisition import Posterior
from kneeal.build.dataset import Cohort
from kneeal.build.network import check_network, make_network
from kneeal.build.posterior import WITH_DROPOUT, make_runner
from kneeal.build.selection import constrain, first_query, make_schedule, make_strategies
from kneeal.config import RunConfig
from kneeal.data.datamodule import LoaderOptions
from kneeal.data.device_views import DeviceViews
from kneeal.data.grades import N_GRADES
from kneeal.data.store import StoredPatches
from kneeal.data.views import Views
from kneeal.errors import UserError
from kneeal.loop.active import ActiveLearningLoop
from kneeal.loop.events import FitProgress, LoopListener
from kneeal.loop.oracle import SimulatedOracle
from kneeal.loop.stopping import stop_rule
from kneeal.loop.writer import RunWriter
from kneeal.nn import ssl
from kneeal.nn.mc_dropout import MonteCarloDropout
from kneeal.training.learner import Learner
from kneeal.training.lightning_runner import Devices, LightningRunner


def make_method(config: RunConfig) -> ssl.Method | None:
    """The second term of the loss, or None without one."""
    loss = config.loss
    if not loss.consistency:
        return None
    # Settings that several methods share have keys of their own.
    shared = {"target": loss.target}
    options = {name: value for name, value in shared.items() if name in ssl.options(loss.method)}
    return ssl.get(loss.method, **{**options, **loss.options})


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
    folder: RunWriter,
    *,
    listeners: Sequence[LoopListener] = (),
    progress: FitProgress | None = None,
) -> ActiveLearningLoop:
    """The loop of one run, at the point where its folder says it is."""
    strategy, pseudo = make_strategies(config)
    check_network(config)
    samples = Posterior.SAMPLES in {s.needs.posterior for s in (strategy, pseudo) if s is not None}
    if config.posterior.method in WITH_DROPOUT and samples:
        MonteCarloDropout(make_network(config))  # refuses a network without dropout now rather than after a fit
    active, schedule = config.active, make_schedule(config, len(cohort.splits.train))
    strategy = constrain(strategy, active.constraints, cohort.dataset.manifest, cohort.splits.train, schedule.budget)
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
        first_query=first_query(config, cohort, runner, schedule.budget),
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
