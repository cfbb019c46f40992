"""`kneeal fit` from a resolved configuration to a finished run folder."""

import sys
import textwrap
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from torch import nn

from kneeal.build.dataset import Cohort, open_cohort
from kneeal.build.loop import RunParts, make_parts
from kneeal.build.run_folder import default_out, find_run_folder, identify, refuse_other_run, run_id
from kneeal.build.start import find_device
from kneeal.config import RunConfig, flatten
from kneeal.data.grades import N_GRADES
from kneeal.errors import count
from kneeal.files import disk_errors, hold_lock
from kneeal.jobs.process import set_up_process
from kneeal.loggers.console import Console
from kneeal.loop.events import SILENT, LoopListener
from kneeal.loop.folder import LOCK, RunFolder
from kneeal.loop.query import SimulatedOracle
from kneeal.report.one_run import draw_run_figures, rounds_table
from kneeal.stats.metrics import warn_of_few_knees
from kneeal.training.lightning_runner import is_first_process

_WIDTH = 88


def run_fit(config: RunConfig, out: Path | None, *, resume: bool, wait: bool = False) -> Path:
    """One active-learning run with the manifest's grades as the oracle; returns its folder.

    Without `out`, the folder is a function of the configuration. `resume` continues the run in it, and `wait`
    waits for a process that works on it.
    """
    set_up_process()
    # Lightning starts this command again for every further device. Those copies compute the same, and only
    # the first writes and prints.
    writer = is_first_process()
    folder = find_run_folder(out or default_out(config), resume=resume, writer=writer)
    cohort = open_cohort(config)
    refuse_other_run(folder, config, cohort)
    oracle = SimulatedOracle(cohort.grades)
    oracle.label(cohort.splits.train)  # refuses a training knee without a grade
    console = Console() if writer else None
    parts = make_parts(config, cohort, console or SILENT)
    identify(folder, config, cohort)
    listeners: list[LoopListener] = [] if console is None else [console]
    with hold_lock(folder.path / LOCK, on_wait=(lambda: None) if wait else None) if writer else nullcontext():
        if writer and config.tracking.mode != "none":
            from kneeal.loggers.wandb import WandbTracker

            kind = "cr" if config.loss.consistency else "naive"
            tracking = config.tracking.model_dump()
            tracking["group"] = tracking["group"] or f"{Path(config.active.strategy).name}-{kind}"
            tracking |= {"run_id": run_id(config, cohort), "thumbnail": cohort.dataset.thumbnail}
            listeners.append(WandbTracker(folder.path, **tracking))
        loop = parts.loop(folder, listeners)
        if writer:
            print(run_header(parts, folder, loop.state.labeled), file=sys.stderr)
        for listener in listeners:
            listener.run_started(flatten(config), loop.finished_rounds())
        loop.run(oracle)
        if writer and loop.stopped_early:
            spent = f"{len(loop.state.labeled)} of {loop.schedule.budget} labels"
            print(f"stopped with {spent}: active.stop_when = {config.active.stop_when} is met", file=sys.stderr)
        if writer:
            print_results(folder.path, cohort)
    return folder.path


def print_results(out: Path, cohort: Cohort) -> None:
    """Print the table of rounds and draw the figures of a run."""
    print(rounds_table(RunFolder(out).rounds()))
    with disk_errors(out / "figures"):
        paths = draw_run_figures(out, out / "figures", cohort.grades)
    print(f"\nrun folder: {out}")
    for path in paths:
        print(f"figure: {path}")


def run_header(parts: RunParts, folder: RunFolder, labeled: Mapping[str, int]) -> str:
    """Strategy, network, device, knees by grade, and what is logged where, in a block of lines."""
    config, splits = parts.config, parts.cohort.splits
    schedule = parts.schedule
    compute, first = config.compute, config.active.first_query
    if config.loss.consistency:
        consistency = f"{config.loss.method}, pseudo pool by {parts.pseudo or parts.strategy}"
    elif parts.strategy.scores_uncertainty:
        consistency = "off"
    else:
        consistency = f"off: {parts.strategy} has no score to choose a pseudo pool by"

    def size(*modules: nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    trained, encoder = size(parts.network), parts.network.encoder
    frozen = 0 if encoder is None else size(encoder.branch) - size(parts.network.branch)
    facts = {
        "run folder": str(folder.path),
        "strategy": f"{parts.strategy}{'' if first == 'random' else f', first query by {first}'}; "
        f"{schedule.n_init} to {schedule.budget} labels in {count(schedule.n_rounds, 'round')}; seed {config.seed}",
        "consistency": consistency,
        "network": f"{config.model.backbone}, {trained + frozen:,} parameters"
        + (f", {trained:,} of them trained" if frozen else ""),
        "device": f"{find_device(compute)}{f' x {n}' if (n := compute.devices) > 1 else ''}, {compute.precision}",
        "epoch kept": {
            "free": f"the best on {len(splits.val)} validation knees, whose grades do not count as labels",
            "budget": f"the best on a share of {config.data.val_fraction:g} of the labels",
            "none": "the last; no grades are spent on choosing one",
        }[config.data.validation],
    }
    if config.tracking.mode == "none":  # any other mode is reported once it is known where W&B logs
        facts["W&B"] = "off (tracking.mode = none)"
    lines = [
        textwrap.fill(text, _WIDTH, initial_indent=f"{name:<13}", subsequent_indent=" " * 13, break_long_words=False)
        for name, text in facts.items()
    ]
    grades = parts.cohort.grades
    pool = [grades[i] for i in splits.train if i not in labeled]
    groups = {"labeled": list(labeled.values()), "pool": pool, "validation": list(splits.val.values())}
    groups = {name: knees for name, knees in groups.items() if knees} | {"test": list(splits.test.values())}
    rows = [[*(knees.count(kl) for kl in range(N_GRADES)), len(knees)] for knees in groups.values()]
    lines.append(f"{'knees':<13}" + "".join(f"{f'KL {kl}':>7}" for kl in range(N_GRADES)) + f"{'all':>7}")
    lines += [f"  {name:<11}" + "".join(f"{n:>7}" for n in row) for name, row in zip(groups, rows, strict=True)]
    if warning := warn_of_few_knees(rows[-1][:-1]):
        lines.append(textwrap.fill(warning, _WIDTH))
    return "\n".join(lines)
