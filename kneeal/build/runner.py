"""From `posterior.*` and the settings of a fit to a runner."""

from collections.abc import Sequence

from torch import nn

from kneeal.build.dataset import Cohort
from kneeal.build.start import Start, in_one_view
from kneeal.config import RunConfig, keywords
from kneeal.data.grades import N_GRADES
from kneeal.errors import UserError
from kneeal.loop.events import SILENT, FitProgress
from kneeal.nn import ssl
from kneeal.nn.freezing import NONE
from kneeal.nn.heads import HEADS
from kneeal.training import posteriors
from kneeal.training.learner import Learner
from kneeal.training.lightning_runner import LightningRunner
from kneeal.training.posteriors.base import Sampler

#: Largest learning rate with which more than the head is trained.
_MAX_RATE = 0.03


def make_runner(config: RunConfig, cohort: Cohort, start: Start, progress: FitProgress = SILENT) -> Sampler:
    """The runner whose samples are those of `posterior.method`."""

    def make(*, seed: int | None = None, cycles: int = 1, view: int | None = None) -> LightningRunner:
        changed = {"seed": config.seed if seed is None else seed}
        chosen = start if view is None else in_one_view(start, config.seed, view)
        return plain_runner(_length(config, cycles).model_copy(update=changed), cohort, chosen, progress)

    head = HEADS[config.model.head](N_GRADES)
    given = posteriors.Ingredients(make, cohort.splits.test, head, config.posterior.members, config.seed)
    return posteriors.get(config.posterior.method)(given)


def plain_runner(config: RunConfig, cohort: Cohort, start: Start, progress: FitProgress = SILENT) -> LightningRunner:
    """The runner that trains one network; several runners may share a start."""
    training, loss = config.training, config.loss
    if training.batch_size % config.compute.devices:
        raise UserError(
            f"a batch of {training.batch_size} knees for {config.compute.devices} devices",
            "a batch size (over all devices) that is a multiple of the number of devices",
            "set training.batch_size to a multiple of --devices",
        )
    if not start.fixed_features and training.learning_rate > _MAX_RATE:
        raise UserError(
            f"training.learning_rate = {training.learning_rate:g} with model.freeze = {config.model.freeze}",
            f"at most {_MAX_RATE} where convolutions are trained: Adam moves each weight by about that much per step",
            "give --set training.learning_rate=0.001, or freeze the encoder (--set model.freeze=all)",
        )
    head = HEADS[config.model.head](N_GRADES)
    learner = {
        **keywords(Learner, training, loss),
        "head": head,
        "method": _method(config, start),
        "n_grades": N_GRADES,
        "compile_mode": None if config.compute.compile == "none" else config.compute.compile,
    }

    def make_learner(network: nn.Module, grades: Sequence[int]) -> Learner:
        counts = [grades.count(grade) for grade in range(N_GRADES)]
        weights = head.balance(counts) if loss.balance == "weights" else None
        return Learner(network, class_weights=weights, **{**learner, "prior": training.prior / len(grades)})

    return LightningRunner(
        make_network=start.network,
        make_learner=make_learner,
        knees=start.knees,
        validation=cohort.validation,
        test_knees=cohort.splits.test,
        n_views=max(2 if loss.consistency else 1, loss.views or 1),
        seed=config.seed,
        progress=progress,
        **keywords(LightningRunner, config.compute, training, loss),
    )


def _method(config: RunConfig, start: Start) -> ssl.Method | None:
    """The second term of the loss, or None without one; its settings are checked either way.

    Raises:
        UserError: It compares what is the same at every step: features that are not trained, or two views of a knee
            where one is kept.
    """
    loss, kept, found, cures = config.loss, config.views.kept, [], []
    # Settings that several methods share have keys of their own.
    shared = {"target": loss.target, "reduction": loss.reduction}
    options = {name: value for name, value in shared.items() if name in ssl.options(loss.method)}
    method = ssl.get(loss.method, **{**options, **loss.options})
    if not loss.consistency:
        return None
    if method.compares_features and start.fixed_features:
        found.append(f"features that model.freeze = {config.model.freeze} leaves as they are")
        cures.append(f"{'loss.options.target' if 'target' in loss.options else 'loss.target'}=logits")
    if method.compares_views and config.model.freeze != NONE and kept < 2:
        found.append(f"two views of each knee, which are the same with views.kept = {kept}")
        cures.append("views.kept=8")
    if found:
        raise UserError(
            f"loss.method = {loss.method} compares {', and '.join(found)}",
            "a second term that training can lower",
            f"set {' and '.join(cures)}, or turn the term off (--no-ssl)",
        )
    return method


def _length(config: RunConfig, cycles: int) -> RunConfig:
    """The settings of one of several equal parts of a fit, with at least a step in each epoch.

    Settings in epochs are scaled to the shorter fit.
    """
    training = config.training
    steps = training.steps and max(1, training.steps // cycles)
    epochs = max(1, training.epochs // cycles)
    part = min(epochs, steps or epochs)

    def scaled(epoch: int, whole: int) -> int:
        return max(1, round(epoch * part / whole))

    changed = {
        "epochs": part,
        "steps": steps,
        "milestones": tuple(scaled(m, training.epochs) for m in training.milestones),
        "validate_every": scaled(training.validate_every, epochs),
    }
    ramp_up = config.loss.ramp_up_epochs and scaled(config.loss.ramp_up_epochs, epochs)
    loss = config.loss.model_copy(update={"ramp_up_epochs": ramp_up})
    return config.model_copy(update={"training": training.model_copy(update=changed), "loss": loss})
