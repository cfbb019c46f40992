"""Read run folders, and refuse to mix what cannot be compared."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kneeal.config import identity, validate
from kneeal.errors import UserError
from kneeal.loop.folder import RunFolder
from kneeal.loop.query import Schedule
from kneeal.loop.records import QueryRecord
from kneeal.stats.summary import Curve

#: Keys of a configuration that do not make another setting: runs that differ in these only are seeds of one setting.
SEED_KEYS = ("seed", "data.split_seed")
#: Names of the paper.
PAPER_NAMES = {
    "entropy_mcd": "ENT-MCD",
    "mi_mcd": "MI-MCD",
    "least_confidence": "LC",
    "entropy": "ENT",
    "random": "Random",
}


@dataclass(frozen=True)
class Predictions:
    """Test predictions of a round.

    Attributes:
        ids: The N test knees.
        kl: [N] grades.
        probs: [N, C].
        uncertainty: [N] nats.
    """

    ids: tuple[str, ...]
    kl: NDArray[np.int64]
    probs: NDArray[np.float64]
    uncertainty: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Run:
    """One run folder with at least one finished round.

    Attributes:
        path: The folder.
        config: Dotted key to value, of the keys that decide what comes out. A text that names the seed is as the study
            file gives it, so that the runs of one setting agree in all but the seed.
        data_dir: The data set's folder as the run was given it.
        devices: Number of devices it ran on.
        dataset: Fingerprint of the data set; empty where the run does not say.
        rounds: rounds.csv.
        n_rounds: Rounds of the whole run, None if it labels all there is.
        given_name: The setting's name in the study that the run belongs to; empty elsewhere.
    """

    path: Path
    config: Mapping[str, Any]
    data_dir: str | None
    devices: int
    dataset: str
    rounds: pd.DataFrame
    n_rounds: int
    given_name: str = ""

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.config["seed"])

    @property
    def strategy(self) -> str:
        """Name of the strategy."""
        return str(self.config["active.strategy"])

    @property
    def consistency(self) -> bool:
        """Whether the run used the consistency term."""
        return bool(self.config["loss.consistency"])

    @property
    def is_baseline(self) -> bool:
        """Whether the run trained on all training labels at once."""
        return bool(self.config["active.n_init"] == "all")

    @property
    def finished(self) -> bool:
        """Whether every round is there."""
        return len(self.rounds) >= self.n_rounds

    def curve(self, metric: str) -> Curve:
        """The learning curve; rounds without a value (an absent grade) are left out."""
        known = self.rounds[metric].notna()
        return Curve.of(self.rounds["n_labeled"][known].tolist(), self.rounds[metric][known].tolist())

    def round_at(self, n_labeled: int) -> int | None:
        """The round that trained on exactly so many labels."""
        found = self.rounds.loc[self.rounds["n_labeled"] == n_labeled, "round"]
        return int(found.iloc[0]) if len(found) else None

    def predictions(self, number: int) -> Predictions:
        """Test predictions of a round."""
        return _read_predictions(self.path, number)

    def confusion(self, number: int) -> NDArray[np.int64]:
        """[C, C] counts, row = true grade."""
        found = self.predictions(number)
        n_grades = found.probs.shape[1]
        flat = np.bincount(found.kl * n_grades + found.probs.argmax(axis=1), minlength=n_grades**2)
        return np.asarray(flat, dtype=np.int64).reshape(n_grades, n_grades)

    def queries(self) -> list[QueryRecord]:
        """Every query that was made, the first one included."""
        return _read_queries(self.path)


@dataclass(frozen=True)
class Setting:
    """Runs that differ in the seed only.

    Attributes:
        label: What it is called in tables.
        runs: By seed.
    """

    label: str
    runs: Mapping[int, Run]

    @property
    def first(self) -> Run:
        """Any one of the runs, to ask what they have in common."""
        return next(iter(self.runs.values()))

    def curves(self, metric: str) -> dict[int, Curve]:
        """Learning curves by seed."""
        return {seed: run.curve(metric) for seed, run in self.runs.items()}


@dataclass(frozen=True)
class Runs:
    """Everything a report is made of.

    Attributes:
        settings: In the order given, the baseline of all labels last.
        seeds: Every seed that some setting has.
        messages: What the reader must know: half-written runs, missing seeds.
    """

    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    messages: tuple[str, ...] = field(default_factory=tuple)

    @property
    def curves(self) -> tuple[Setting, ...]:
        """The settings that ask, in order."""
        return tuple(s for s in self.settings if not s.first.is_baseline)

    @property
    def baselines(self) -> tuple[Setting, ...]:
        """Those that train on all labels."""
        return tuple(s for s in self.settings if s.first.is_baseline)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that every run has."""
        return tuple(
            str(name)
            for name in self.settings[0].first.rounds.columns
            if str(name).startswith(("test_", "val_"))
            and all(name in run.rounds.columns for s in self.settings for run in s.runs.values())
        )

    def metric(self, name: str) -> str:
        """The column of a metric; the test set is meant where the name does not say.

        Raises:
            UserError: There is no such metric; the nearest is suggested.
        """
        for candidate in (name, f"test_{name}"):
            if candidate in self.metrics:
                return candidate
        near = difflib.get_close_matches(name, [*self.metrics, *(m.removeprefix("test_") for m in self.metrics)], 1)
        raise UserError(
            f"no metric called {name!r} in these runs",
            f"one of: {', '.join(self.metrics)}",
            f"did you mean {near[0]!r}?" if near else "choose one of those",
        )

    @property
    def label_counts(self) -> tuple[int, ...]:
        """Every label count at which some asking run has a round."""
        return tuple(sorted({int(n) for s in self.curves for run in s.runs.values() for n in run.rounds["n_labeled"]}))

    def default_counts(self) -> tuple[int, ...]:
        """Label counts for a table: the paper's where the runs have them, else four over the whole range."""
        paper, have = (50, 250, 500, 800), self.label_counts
        if set(paper) <= set(have):
            return paper
        return tuple(sorted({have[round(k * (len(have) - 1) / 3)] for k in range(4)})) if have else ()


def read_runs(folders: Sequence[Path]) -> Runs:
    """Read run folders, or study folders with run folders in them.

    Raises:
        UserError: A folder is no run, no run has a finished round, or the runs belong to different data sets or
            test sets, or one is given twice.
    """
    messages: list[str] = []
    runs: list[Run] = []
    for folder in _expand(folders):
        run = _read_run(folder)
        if run is None:
            messages.append(f"{folder} has no finished round yet and is left out")
            continue
        if not run.finished:
            messages.append(
                f"{folder} is not finished: {len(run.rounds)} of {run.n_rounds} rounds, "
                f"{int(run.rounds['n_labeled'].iloc[-1])} labels; its finished rounds are used"
            )
        runs.append(run)
    if not runs:
        raise UserError(
            f"no run with a finished round among {len(folders)} folder{'s' * (len(folders) != 1)}",
            "run folders of `kneeal fit`, or a study folder",
            "; ".join(messages[:3]) or "check the paths",
        )
    _refuse_mixed(runs)
    settings = _group(runs)
    seeds = tuple(sorted({seed for s in settings for seed in s.runs}))
    for s in settings:
        missing = [seed for seed in seeds if seed not in s.runs]
        if missing:
            messages.append(
                f"{s.label}: no run of seed {', '.join(map(str, missing))}; its means are over {len(s.runs)} of "
                f"{len(seeds)} seeds"
            )
    asking = [run for s in settings if not s.first.is_baseline for run in s.runs.values()]
    if len({tuple(run.rounds["n_labeled"])[:2] for run in asking if len(run.rounds) > 1}) > 1:
        messages.append("the runs have different label counts; a table cell uses the runs with exactly that count")
    return Runs(settings, seeds, tuple(messages))


def _expand(folders: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        study = folder / "study.json"
        if study.is_file():
            found += [folder / name for name in RunFolder(folder).read_json(study)["cells"] if (folder / name).is_dir()]
        elif RunFolder(folder).begun:
            found.append(folder)
        elif folder.is_dir() and (inside := sorted(path.parent for path in folder.glob("*/config.yaml"))):
            found += inside
        else:
            raise UserError(
                f"{folder} is no run folder" if folder.exists() else f"no folder {folder}",
                "a run folder with config.yaml, or a folder of such folders",
                "check the path",
            )
    return list(dict.fromkeys(path.resolve() for path in found))


def _read_run(path: Path) -> Run | None:
    folder = RunFolder(path)
    rounds = folder.rounds() if folder.begun else []
    if not rounds:
        return None
    config, finished = validate(folder.config()), folder.finished
    active = config.active
    n_rounds = len(rounds) if finished else len(rounds) + 1
    if not finished and active.n_init != "all" and active.budget != "all":
        n_rounds = Schedule(active.n_init, active.n_query, active.budget).n_rounds
    study = path.parent / "study.json"
    cell = folder.read_json(study)["cells"].get(path.name, {}) if study.is_file() else {}
    made_by = {**identity(config), **cell.get("by_seed", {})}
    given = cell.get("setting", "")
    return Run(
        path, made_by, config.data.dir, config.compute.devices, folder.dataset(), pd.DataFrame(rounds), n_rounds, given
    )


def _refuse_mixed(runs: Sequence[Run]) -> None:
    cure = "report them apart: give the run folders of one data set"
    keys: dict[str, Callable[[Run], Any]] = {
        "data sets": lambda run: run.dataset,
        "test sets": lambda run: run.predictions(int(run.rounds["round"].iloc[0])).ids,
    }
    for what, key in keys.items():
        groups: dict[Any, list[Path]] = {}
        for run in runs:
            groups.setdefault(key(run), []).append(run.path)
        if len(groups) > 1:
            some = "; ".join(f"{len(paths)} like {paths[0]}" for paths in list(groups.values())[:3])
            raise UserError(f"runs of {len(groups)} different {what}: {some}", f"runs on one of the {what}", cure)


def _group(runs: Sequence[Run]) -> tuple[Setting, ...]:
    groups: dict[str, dict[int, Run]] = {}
    for run in runs:
        key = json.dumps({k: v for k, v in run.config.items() if k not in SEED_KEYS}, sort_keys=True)
        other = groups.setdefault(key, {}).setdefault(run.seed, run)
        if other is not run:
            raise UserError(
                f"the same run twice: {other.path} and {run.path} (seed {run.seed})",
                "one run folder for each setting and seed",
                "leave one of them out",
            )
    labels = _labels([next(iter(group.values())) for group in groups.values()])
    settings = [Setting(label, dict(sorted(g.items()))) for label, g in zip(labels, groups.values(), strict=True)]
    return tuple(sorted(settings, key=lambda s: s.first.is_baseline))


def _labels(runs: Sequence[Run]) -> list[str]:
    """A name for each setting: the study's, else strategy and consistency; where two agree, what they differ in."""
    names = [run.given_name or _paper_name(run) for run in runs]
    labels = []
    for run, name in zip(runs, names, strict=True):
        alike = [other for other, n in zip(runs, names, strict=True) if n == name and other is not run]
        hidden = (*SEED_KEYS, "active.strategy", "loss.consistency")
        differing = [k for k in run.config if k not in hidden and any(o.config.get(k) != run.config[k] for o in alike)]
        labels.append(", ".join([name, *(f"{key}={run.config[key]}" for key in differing)]))
    return labels


def _paper_name(run: Run) -> str:
    if run.is_baseline:
        return "Full training set" + (" + CR" if run.consistency else "")
    return PAPER_NAMES.get(run.strategy, run.strategy) + (" + CR" if run.consistency else "")


@lru_cache(maxsize=4096)
def _read_predictions(run: Path, number: int) -> Predictions:
    found = RunFolder(run).predictions(number)
    return Predictions(found.ids, np.array(found.kl), np.array(found.probs), np.array(found.uncertainty))


@lru_cache(maxsize=512)
def _read_queries(run: Path) -> list[QueryRecord]:
    return RunFolder(run).queries()
