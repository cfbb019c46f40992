"""`kneeal fit` from a resolved configuration to a finished run folder."""

import sys
from contextlib import nullcontext
from pathlib import Path

from kneeal.build.dataset import Cohort, open_cohort
from kneeal.build.loop import Plan, build_oracle, make_plan
from kneeal.build.run_folder import default_out, find_run_folder, identify, refuse_other_run, run_id
from kneeal.config import RunConfig, flatten
from kneeal.files import disk_errors, hold
from kneeal.jobs.process import set_up_process
from kneeal.jobs.run_header import run_header
from kneeal.loggers.console import Console
from kneeal.loop.events import SILENT, LoopListener
from kneeal.loop.folder import LOCK, RunFolder
from kneeal.loop.oracle import SimulatedOracle
from kneeal.loop.writer import RunWriter
from kneeal.report.one_run import draw_run_figures, rounds_table
from kneeal.training.lightning_runner import is_first_process


def run_fit(config: RunConfig, out: Path | None, *, resume: bool, wait: bool = False) -> Path:
    """One active-learning run with the manifest's grades as the oracle; returns its folder.

    Without `out`, the folder is a function of the configuration. `resume` continues the run that is there, and `wait`
    waits for a process that works on it.
    """
    set_up_process()
    # Lightning starts this command again for every further device. Those copies compute the same, and only
    # the first writes and talks.
    writer = is_first_process()
    folder = find_run_folder(out or default_out(config), resume=resume, writer=writer)
    cohort = open_cohort(config)
    refuse_other_run(folder, config, cohort)
    oracle = build_oracle(cohort)
    console = Console() if writer else None
    plan = make_plan(config, cohort, console or SILENT)
    identify(folder, config, cohort)
    with hold(folder.path / LOCK, on_wait=(lambda: None) if wait else None) if writer else nullcontext():
        _run(plan, folder, oracle, console)
    return folder.path


def _run(plan: Plan, folder: RunWriter, oracle: SimulatedOracle, console: Console | None) -> None:
    """The loop with its listeners, to the end; only a process with a console writes."""
    config, cohort = plan.config, plan.cohort
    listeners: list[LoopListener] = [] if console is None else [console]
    if console and config.tracking.mode != "none":
        from kneeal.loggers.wandb import WandbTracker

        kind = "cr" if config.loss.consistency else "naive"
        tracking = config.tracking.model_dump()
        tracking["group"] = tracking["group"] or f"{Path(config.active.strategy).name}-{kind}"
        tracker = WandbTracker(
            folder.path, run_id=run_id(config, cohort), thumbnail=cohort.dataset.thumbnail, **tracking
        )
        listeners.append(tracker)
    loop = plan.loop(folder, listeners)
    if console:
        print(run_header(plan, folder, loop.state.labeled), file=sys.stderr)
        finished = loop.finished_rounds()
        for listener in listeners:
            listener.run_started(flatten(config), finished)
    loop.run(oracle)
    if console:
        if loop.stopped_early:
            print(
                f"stopped with {len(loop.state.labeled)} of {loop.schedule.budget} labels: "
                f"active.stop_when = {config.active.stop_when} is met",
                file=sys.stderr,
            )
        finish(folder.path, cohort)


def finish(out: Path, cohort: Cohort) -> None:
    """Print the table of rounds and draw the figures of a run."""
    print(rounds_table(RunFolder(out).rounds()))
    with disk_errors(out / "figures"):
        paths = draw_run_figures(out, out / "figures", cohort.grades)
    print(f"\nrun folder: {out}")
    for path in paths:
        print(f"figure: {path}")
