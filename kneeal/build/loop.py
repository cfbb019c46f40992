"""From a configuration to a run: everything is checked and built once, before anything is written."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from kneeal.acquisition import Needs, Posterior, Strategy
from kneeal.build.dataset import Cohort
from kneeal.build.network import make_network
from kneeal.build.runner import make_runner, plain_runner
from kneeal.build.selection import constrain, first_query, make_schedule, make_strategies
from kneeal.build.start import make_start
from kneeal.config import RunConfig
from kneeal.data.grades import N_GRADES
from kneeal.errors import UserError
from kneeal.exchange.model_file import MODEL_SUFFIX
from kneeal.loop.active import ActiveLearningLoop
from kneeal.loop.events import SILENT, FitProgress, LoopListener
from kneeal.loop.query import FirstQuery, Schedule
from kneeal.loop.querying import check_uncertainty
from kneeal.loop.runner import Runner
from kneeal.loop.stopping import StopRule, stop_rule
from kneeal.loop.writer import RunWriter
from kneeal.nn.backbones import check_side
from kneeal.nn.network import SiameseKneeNet


@dataclass(frozen=True)
class RunParts:
    """All parts of a run except its folder."""

    config: RunConfig  #: Its settings.
    cohort: Cohort  #: Its data set with the splits.
    network: SiameseKneeNet  #: A network as a fit starts from it.
    runner: Runner  #: Trains and predicts.
    strategy: Strategy  #: Selects queries, under the constraints.
    pseudo: Strategy | None  #: Chooses the pseudo pool; None where `strategy` does, or there is none.
    schedule: Schedule  #: How many labels to ask for.
    first_query: FirstQuery  #: Makes the first query.
    stop: StopRule | None  #: Ends the run early; never if None.

    def loop(self, folder: RunWriter, listeners: Sequence[LoopListener] = ()) -> ActiveLearningLoop:
        """The loop of the run, from the state that its folder holds."""
        return ActiveLearningLoop(
            self.runner,
            self.strategy,
            self.cohort.splits.train,
            folder,
            self.schedule,
            consistency=self.config.loss.consistency,
            pseudo_strategy=self.pseudo,
            warm_start=self.config.training.start == "warm",
            n_grades=N_GRADES,
            seed=self.config.seed,
            listeners=listeners,
            first_query=self.first_query,
            stop=self.stop,
            n_free=len(self.cohort.splits.val),
        )


def make_parts(config: RunConfig, cohort: Cohort, progress: FitProgress = SILENT) -> RunParts:
    """Check the settings of a run and build what they name."""
    active, train = config.active, cohort.splits.train
    strategy, pseudo = make_strategies(config)
    if config.loss.consistency:
        check_uncertainty(pseudo or strategy)
    schedule = make_schedule(config, len(train))
    schedule.check(len(train))
    cohort.validation.check(schedule.n_init)
    if config.data.validation == "budget" and config.training.epochs < 2 * config.training.validate_every:
        raise UserError(
            f"data.validation = budget, which costs labels, with training.epochs = {config.training.epochs}: there is "
            "no epoch to choose",
            f"two validations or more, one in {config.training.validate_every} epochs (training.validate_every)",
            f"set training.epochs={10 * config.training.validate_every} (training.steps are spread over them), or "
            "data.validation=none",
        )
    if config.data.validation == "none" and active.stop_when == "gain":
        raise UserError(
            "active.stop_when = gain with data.validation = none",
            "validation knees, whose accuracy gains",
            "choose data.validation=budget, or another criterion",
        )
    check_side(config.model.backbone, config.data.patch_size)
    start = make_start(config, cohort)
    runner = make_runner(config, cohort, start, progress)

    def features(ids: Sequence[str]) -> Tensor | None:
        needs = Needs(Posterior.NONE, features=True)
        return plain_runner(config, cohort, start, progress).predict(None, 0, ids, needs).features

    strategy = constrain(strategy, active.constraints, cohort.dataset.manifest, train, schedule.budget)
    network = start.template or make_network(config)
    init = config.training.init
    if init is not None and init.endswith(MODEL_SUFFIX) and not network.head_loaded:
        print(f"{init} gives the backbone alone: the grades, model.head or model.freeze differ", file=sys.stderr)
    for needs in (s.needs for s in (strategy, pseudo) if s is not None):
        if needs.posterior is Posterior.SAMPLES:
            runner.check_samples(needs.n_samples, network)
    return RunParts(
        config,
        cohort,
        network,
        runner,
        strategy,
        pseudo,
        schedule,
        first_query(config, cohort, features, schedule.budget),
        stop_rule(active.stop_when, active.stop_options),
    )
