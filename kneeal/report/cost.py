"""What runs cost, and what a study would cost at the rates of runs that were measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kneeal.errors import UserError
from kneeal.loop.query import Schedule
from kneeal.report.runs import Run, Runs
from kneeal.report.text import TextTable

#: Keys on which the time of one step or one prediction depends.
_SHAPE = (
    "data.patch_size",
    "model.backbone",
    "model.width",
    "model.pooling",
    "training.batch_size",
    "compute.precision",
    "compute.compile",
)


def device_hours(run: Run) -> float:
    """Hours of one device that the finished rounds took: fit, test, predict, select, times the devices."""
    rounds = run.rounds[["fit_seconds", "predict_seconds", "select_seconds"]].to_numpy(float)
    return (float(np.nansum(rounds)) + sum(_test_seconds(run))) * run.devices / 3600


def cost_table(runs: Runs) -> TextTable:
    """Device-hours and labels of each setting."""
    rows, whole = [], 0.0
    for setting in runs.settings:
        hours = [device_hours(run) for run in setting.runs.values()]
        labels = [int(run.rounds["n_labeled"].iloc[-1]) for run in setting.runs.values()]
        whole += sum(hours)
        rows.append(
            [setting.label, f"{len(hours)}", f"{np.mean(hours):.3f}", f"{sum(hours):.3f}", f"{np.mean(labels):.0f}"]
        )
    rows.append(["together", f"{sum(len(s.runs) for s in runs.settings)}", "", f"{whole:.3f}", ""])
    return TextTable("cost", ["setting", "runs", "device-hours per run", "device-hours", "labels per run"], rows)


@dataclass(frozen=True)
class Rates:
    """Measured speed of one kind of run."""

    knee: float  #: Seconds to train on one knee of the labeled and pseudo pool in one epoch.
    epoch: float  #: Seconds that an epoch takes in addition: validation, start of the loaders.
    predict: float  #: Seconds to predict one pool knee as the strategy needs it.
    test: float  #: Seconds of one evaluation.
    n_pool: int  #: Training knees.
    consistency: bool  #: Whether the runs used the consistency term.
    strategy: str  #: Its name.


def measure(runs: Sequence[Run]) -> list[Rates]:
    """Rates by strategy and consistency, by least squares over the rounds.

    Runs may have any length, of the network and patch size in question; it takes two rounds or more of each kind.
    """
    kinds: dict[tuple[str, bool], list[Run]] = {}
    for run in runs:
        if len(run.rounds) > 1:
            kinds.setdefault((run.strategy, run.consistency), []).append(run)
    return [_rates(kind, group) for kind, group in kinds.items()]


def project(config: Mapping[str, Any], rates: Sequence[Rates]) -> float:
    """Seconds of one device for a run with these settings, at rates measured with the same network."""
    strategy, consistency = config["active.strategy"], config["loss.consistency"]
    alike = [r for r in rates if r.consistency == consistency]
    own = next((r for r in alike if r.strategy == strategy), None) or (alike[0] if alike else None)
    if own is None:
        raise UserError(
            f"no measured run {'with' if consistency else 'without'} consistency",
            "a run of each kind that the study has",
            "measure one: two rounds of a few epochs are enough (--set training.epochs=3)",
        )
    n_init = own.n_pool if config["active.n_init"] == "all" else int(config["active.n_init"])
    budget = own.n_pool if config["active.budget"] == "all" else int(config["active.budget"])
    n_query, epochs = int(config["active.n_query"]), int(config["training.epochs"])
    predict = 0.0 if strategy == "random" and not consistency else own.predict
    seconds = 0.0
    for number in range(Schedule(n_init, n_query, max(n_init, budget)).n_rounds):
        n = min(budget, n_init + number * n_query)
        n_pseudo = min(n, own.n_pool - n) if consistency and number else 0
        seconds += epochs * (own.epoch + own.knee * (n + n_pseudo)) + own.test
        seconds += predict * (own.n_pool - n) if n < budget else 0.0
    return seconds


def shape_of(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the measured runs must have in common with the ones that are projected."""
    return tuple(config.get(key) for key in _SHAPE)


def _rates(kind: tuple[str, bool], runs: Sequence[Run]) -> Rates:
    knees, seconds, predicted, tests = [], [], [], []
    n_pool = 0
    for run in runs:
        pool = _pool_sizes(run)
        n_pool = max(n_pool, max(pool) + int(run.rounds["n_labeled"].iloc[int(np.argmax(pool))]))
        epochs = int(run.config["training.epochs"])
        for (_, row), n in zip(run.rounds.iterrows(), pool, strict=True):
            knees.append(float(row["n_labeled"] + row["n_pseudo"]))
            seconds.append(float(row["fit_seconds"]) / epochs)
            if row["predict_seconds"] > 0 and n:
                predicted.append(float(row["predict_seconds"]) / n)
        tests += _test_seconds(run)
    design = np.stack([np.ones(len(knees)), np.array(knees)], axis=1)
    (epoch, knee), *_ = np.linalg.lstsq(design, np.array(seconds), rcond=None)
    if knee < 0 or epoch < 0:  # noise over a short range: everything in proportion to the knees
        epoch, knee = 0.0, float(np.sum(seconds) / np.sum(knees))
    return Rates(
        float(knee), float(epoch), float(np.mean(predicted)) if predicted else 0.0,
        float(np.mean(tests)) if tests else 0.0, n_pool, kind[1], kind[0],
    )  # fmt: skip


def _pool_sizes(run: Run) -> list[int]:
    return [len(run.folder.state(int(number)).unlabeled) for number in run.rounds["round"]]


def _test_seconds(run: Run) -> list[float]:
    numbers = run.folder.evaluated()[: len(run.rounds)]
    return [float(run.folder.metrics(number)["test_seconds"]) for number in numbers]
