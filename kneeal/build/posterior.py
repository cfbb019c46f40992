"""From `posterior.*` to a runner."""

from __future__ import annotations

import copy
from collections.abc import Callable

from kneeal.config import RunConfig
from kneeal.data.views import Views, resize
from kneeal.loop.runner import Runner
from kneeal.seeds import derive_seed
from kneeal.training.lightning_runner import LightningRunner
from kneeal.training.posteriors.augmented import AugmentedRunner, ViewedPatches
from kneeal.training.posteriors.ensemble import EnsembleRunner
from kneeal.training.posteriors.laplace import LaplaceRunner

#: Posteriors that draw dropout masks, and so need a network with dropout.
WITH_DROPOUT = ("mcd", "mcd_ensemble")


def make_runner(config: RunConfig, make: Callable[[RunConfig], LightningRunner]) -> Runner:
    """The runner whose samples are those of `posterior.method`.

    Args:
        config: The resolved configuration.
        make: A plain runner for a configuration.
    """
    method, members = config.posterior.method, config.posterior.members
    if method == "mcd":
        return make(config)
    if method in ("ensemble", "mcd_ensemble"):
        # The first member is the network that a run without an ensemble trains.
        seeds = [config.seed, *(derive_seed(config.seed, "member", k) for k in range(1, members))]
        runners = [make(config.model_copy(update={"seed": seed})) for seed in seeds]
        return EnsembleRunner(runners, runners[0].test_knees, dropout=method == "mcd_ensemble")
    if method == "snapshot":
        training = config.training
        epochs = max(1, training.epochs // members)
        # One cycle of the learning rate a member, the milestones where they are in a whole fit.
        milestones = tuple(max(1, round(m * epochs / training.epochs)) for m in training.milestones)
        cycle = training.model_copy(update={"epochs": epochs, "milestones": milestones})
        seeds = [derive_seed(config.seed, "cycle", k) for k in range(members)]
        runners = [make(config.model_copy(update={"seed": seed, "training": cycle})) for seed in seeds]
        return EnsembleRunner(runners, runners[0].test_knees, chain=True)
    plain = make(config)
    if method == "laplace":
        return LaplaceRunner(plain, plain.test_knees, seed=config.seed)
    size = config.data.patch_size
    views = Views(size, **config.views.model_dump())

    def viewed(k: int) -> Runner:
        runner = copy.copy(plain)
        seed = derive_seed(config.seed, "test view", k)
        runner.patches = ViewedPatches(plain.patches, lambda pair, s: views(resize(pair, size), s), seed)
        return runner

    return AugmentedRunner(plain, viewed, plain.test_knees)
