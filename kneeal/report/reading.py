"""Read run folders, group them into settings, and refuse to mix what cannot be compared."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kneeal.config import identity, validate
from kneeal.data.grades import N_GRADES
from kneeal.errors import UserError, count
from kneeal.loop.folder import RunFolder
from kneeal.loop.query import Schedule
from kneeal.report.runs import Run, Runs, Setting
from kneeal.stats.metrics import warn_of_few_knees

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


def read_runs(folders: Sequence[Path]) -> Runs:
    """Read run folders, or study folders with run folders in them.

    Raises:
        UserError: A folder is not a run, no run has a finished round, or the runs belong to different data sets or
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
            f"no run with a finished round among {count(len(folders), 'folder')}",
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
        copies = len(s.runs) - len({run.predictions(-1).probs for run in s.runs.values()})
        if copies and not s.first.is_baseline:
            messages.append(
                f"{s.label}: {count(copies, 'seed')} predicted exactly what another did, so a copied run may be "
                "among them, and the p-values count both"
            )
    if len({s.free_grades for s in settings if not s.first.is_baseline}) > 1:
        messages.append(
            "the settings use different numbers of validation grades in addition to their labels: where one wins at "
            "equal labels, it may owe that to more grades"
        )
    querying = [run for s in settings if not s.first.is_baseline for run in s.runs.values()]
    if len({tuple(run.rounds["n_labeled"])[:2] for run in querying if len(run.rounds) > 1}) > 1:
        messages.append("the runs have different label counts; a table cell uses the runs with exactly that count")
    kl = list(runs[0].predictions(0).kl)
    if warning := warn_of_few_knees([kl.count(grade) for grade in range(N_GRADES)]):
        messages.append(warning)
    return Runs(settings, seeds, tuple(messages))


def _expand(folders: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        study = folder / "study.json"
        if study.is_file():
            found += [folder / name for name in RunFolder(folder).read_json(study)["cells"] if (folder / name).is_dir()]
        elif RunFolder(folder).exists:
            found.append(folder)
        elif folder.is_dir() and (inside := sorted(path.parent for path in folder.glob("*/config.yaml"))):
            found += inside
        else:
            RunFolder(folder).check()
    return list(dict.fromkeys(path.resolve() for path in found))


def _read_run(path: Path) -> Run | None:
    folder = RunFolder(path)
    rounds = folder.rounds() if folder.exists else []
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
    for what in ("data sets", "test sets"):
        groups: dict[Any, list[Path]] = {}
        for run in runs:
            key = run.dataset if what == "data sets" else run.predictions(0).test_set
            groups.setdefault(key, []).append(run.path)
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
    names = []
    for run in runs:
        name = "Full training set" if run.is_baseline else PAPER_NAMES.get(run.strategy, run.strategy)
        names.append(run.given_name or name + " + CR" * run.consistency)
    labels = []
    for run, name in zip(runs, names, strict=True):
        alike = [other for other, n in zip(runs, names, strict=True) if n == name and other is not run]
        differing = [k for k in run.config if any(o.config.get(k) != run.config[k] for o in alike)]
        labels.append(", ".join([name, *(f"{k}={run.config[k]}" for k in differing if k not in SEED_KEYS)]))
    return labels
