"""Speed, measured: writes the tables of docs/performance.md.

    python benchmarks/speed [--device cpu|cuda] [--only SECTION ...] [--tiny] [--within MINUTES]

`make bench` runs it on the CPU, `make bench-gpu` on a GPU. Each section is written as soon as it is measured, so what
is done is kept if the rest is not. On a GPU every section has its share of ten minutes and is ended after it.
"""

from __future__ import annotations

import argparse
import datetime
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

# A thread more than the machine has to spare makes every figure a lottery; set it to use more.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import frozen
import limits
import many
import page
import prediction
import scale
import startup
import torch
import training
from parts import Setting
from timing import Row, machine

from kneeal.jobs.process import set_up_process
from kneeal.training.learner import Mode

#: Parts of the time that `--within` gives, about what each section takes on a GPU; none may take more.
PARTS = {
    "prediction": 7,
    "prediction-full": 12,
    "training": 7,
    "training-full": 16,
    "compiled": 20,
    "frozen": 7,
    "growth": 8,
    "stream": 10,
    "many": 6,
    "startup": 15,
    "limits": 15,
}
#: Minutes for all of a GPU's sections. A CPU's have no such limit.
WITHIN = 9.5
PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
Section = Callable[[], list[Row]]


def sections(device: torch.device, *, quick: bool = False) -> dict[str, Section]:
    """What is measured, by name."""
    small, full = Setting(device), limits.full(device) if device.type == "cuda" else limits.few(device)
    narrow = replace(small, size=16, width=2, n_samples=10, batch=128)
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    predicted, trained = replace(small, n_knees=64, rounds=2), replace(full, n_knees=16, rounds=2, seconds=120.0)
    # On a CPU views take 0.2 % of a step at full width, whoever makes them; a GPU waits for its loaders.
    workers: tuple[int, ...] = (0, 1, 2)
    full_workers: tuple[int, ...] = (2,)
    if device.type == "cuda":
        small, full = replace(small, n_knees=2048, batch=256, seconds=10.0), replace(full, seconds=15.0)
        predicted, trained = replace(small, n_knees=256), full
        workers, full_workers = (2, 6, 12), (4, 12)
    if quick:
        trained = replace(trained, n_knees=4, rounds=1)
        predicted = replace(predicted, n_knees=32, batch=32, rounds=1)
        small, full = replace(small, n_knees=32, batch=32, rounds=1), replace(full, n_knees=2, batch=2, rounds=1)
    return {
        "prediction": lambda: prediction.rows(predicted, runner_knees=256),
        "prediction-full": lambda: prediction.rows(
            replace(full, n_knees=min(full.n_knees, 256)), over_ours=device.type == "cuda"
        ),
        "training": lambda: training.rows(replace(small, rounds=2 * small.rounds), workers=workers),
        "training-full": lambda: training.rows(trained, workers=full_workers),
        "compiled": lambda: training.compiled(
            *((trained, get_args(Mode)) if device.type == "cuda" else (small, ("default",)))
        ),
        "frozen": lambda: frozen.rows(**({"n_knees": 600, "rounds": 1, "size": 32} if quick else {})),
        "growth": lambda: scale.growth(narrow, (200, 2000) if quick else (1000, 10_000, 30_000)),
        "stream": lambda: scale.stream(1_000_000),
        "many": lambda: many.rows(small),
        "startup": lambda: startup.rows(accelerator=accelerator, turns=1 if quick else 2),
        "limits": lambda: limits.rows(full, matrix=8192 if device.type == "cuda" else 1024),
    }


def tiny(device: torch.device) -> dict[str, Section]:
    """The same with sizes at which nothing is worth knowing: whether it runs."""
    s = Setting(device).smaller()
    return {
        "prediction": lambda: prediction.rows(s, peers=False),
        "training": lambda: training.rows(s, workers=(0,)),
        "compiled": lambda: training.compiled(s, ("default",)),
        "frozen": lambda: frozen.rows(n_knees=60, n_labeled=20, n_samples=3, rounds=1, few=8, size=32),
        "growth": lambda: scale.growth(s, (12, 24)),
        "stream": lambda: scale.stream(1000),
        "many": lambda: many.rows(s, n_networks=2, steps=1),
        "limits": lambda: limits.rows(s, matrix=64),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", nargs="*", help="names of sections")
    parser.add_argument("--tiny", action="store_true", help="try the benchmark itself in seconds")
    parser.add_argument("--quick", action="store_true", help="few knees and one turn, for a machine that others fill")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument(
        "--within", type=float, metavar="MINUTES", help=f"for all sections; {WITHIN} on a GPU, 0 for no limit"
    )
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda on a machine without a GPU: run it where there is one, or leave --device out")
    set_up_process()  # as the commands do, for all candidates
    warnings.filterwarnings("ignore")
    # With its number, so that it is equal to the device of tensors.
    device = torch.device("cuda", 0) if arguments.device == "cuda" else torch.device("cpu")
    todo = tiny(device) if arguments.tiny else sections(device, quick=arguments.quick)
    unknown = set(arguments.only or ()) - set(todo)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(todo)}")
    failed = []
    names = arguments.only or list(todo)
    minutes = arguments.within if arguments.within is not None else WITHIN if arguments.device == "cuda" else 0.0
    if minutes:
        limits_of = {name: 60 * minutes * PARTS[name] / sum(PARTS[n] for n in names) for name in names}
        failed = [name for name in names if not _bounded(name, limits_of[name], arguments, machine(device))]
        names = []
    for name in names:
        start = time.perf_counter()
        try:
            rows = todo[name]()
        except Exception as error:  # the other sections are still worth having
            failed.append(name)
            rows = [Row(name, f"not measured: {type(error).__name__}: {str(error)[:200]}".replace("\n", " "))]
        took = time.perf_counter() - start
        for row in rows:
            print(f"{row.figure}: {row.ours} | {row.against} | {row.ratio}", flush=True)
        when = datetime.date.today().isoformat()
        note = f"{machine(device)}. Measured on {when} in {took:.0f} s."
        page.put(arguments.page, f"{arguments.device} {name}", f"{note}\n\n{page.table(rows)}")
    if failed:
        raise SystemExit(f"not measured: {', '.join(failed)}")


def _bounded(name: str, seconds: float, arguments: argparse.Namespace, where: str) -> bool:
    """Measure one section in a process that is ended after some seconds, with all that it started."""
    options = [f"--{option}" for option in ("tiny", "quick") if getattr(arguments, option)]
    command = [sys.executable, str(Path(__file__).parent), "--device", arguments.device, "--page", str(arguments.page)]
    child = subprocess.Popen([*command, *options, "--within", "0", "--only", name], start_new_session=True)
    try:
        return child.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        rows = [Row(name, f"not measured: not done within {seconds:.0f} s")]
        page.put(arguments.page, f"{arguments.device} {name}", f"{where}.\n\n{page.table(rows)}")
        return False
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


if __name__ == "__main__":
    main()
