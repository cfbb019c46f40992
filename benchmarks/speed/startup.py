"""Start-up: from the command to the first training step, and from one round to the next."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import Row

_FIRST_STEP = """
import sys, time
start = float(sys.argv[1])
from pytorch_lightning.callbacks import Callback
from kneeal import cli
from kneeal.training import lightning_runner as runner
began = time.time()
class Stop(Callback):
    def on_train_start(self, *_): self.ends = []
    def on_train_batch_end(self, trainer, *_):
        print("FIRST", time.time() - start, flush=True)
        import os; os._exit(0)
make = runner.LightningRunner._trainer
runner.LightningRunner._trainer = lambda self, callbacks, **o: make(self, [*callbacks, Stop()], **o)
sys.argv = ["kneeal", *sys.argv[2:]]
cli.main()
"""
#: Prints for every round but the first how long after the state of the round was on the disk its first training step
#: began and ended, by the clock and in CPU time.
_ROUNDS = """
import sys, time
from pytorch_lightning.callbacks import Callback
from kneeal import cli
from kneeal.training import lightning_runner as runner
from kneeal.loop.writer import RunWriter
written = []
def clocks(): return time.perf_counter(), time.process_time()
def after(word):
    if written: print(word, *(now - then for now, then in zip(clocks(), written)), flush=True)
class Steps(Callback):
    def on_train_batch_start(self, trainer, module, batch, index):
        if not trainer.global_step: after("BEGIN")
    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        if trainer.global_step == 1: after("END")
write, make = RunWriter.write_state, runner.LightningRunner._trainer
def write_state(self, state):
    write(self, state)
    if state.round: written[:] = clocks()
RunWriter.write_state = write_state
runner.LightningRunner._trainer = lambda self, callbacks, **o: make(self, [*callbacks, Steps()], **o)
sys.argv = ["kneeal", *sys.argv[1:]]
cli.main()
"""
_IMPORTS = "import time; t = time.time(); import kneeal.jobs.fit, kneeal.config; print('IMPORTS', time.time() - t)"


def rows(*, accelerator: str, knees: int = 600, turns: int = 3) -> list[Row]:
    """The least of a few starts."""
    with tempfile.TemporaryDirectory(prefix="kneeal-bench-") as folder:
        data = Path(folder) / "data"
        kneeal = [sys.executable, "-m", "kneeal"]
        _run([*kneeal, "demo-data", "--out", str(data), "--knees", str(knees)])
        fit = ["fit", "--config", "demo", "--data", str(data), "--accelerator", accelerator]
        first, cpu, imports = [], [], []
        for turn in range(turns):
            out = ["--out", str(Path(folder) / f"run{turn}")]
            before = os.times()
            text = _run([sys.executable, "-c", _FIRST_STEP, str(time.time()), *fit, *out])
            after = os.times()
            first.append(_after("FIRST", text))
            cpu.append(after.children_user + after.children_system - before.children_user - before.children_system)
            imports.append(_after("IMPORTS", _run([sys.executable, "-c", _IMPORTS])))
        small = [
            "--set", "training.epochs=1", "--set", "training.milestones=[]", "--set", "training.validate_every=1",
            "--set", "active.n_init=32", "--set", "active.n_query=8", "--set", "active.budget=56",
            "--set", "active.options.n_samples=2",
        ]  # fmt: skip
        run = Path(folder) / "rounds"
        text = _run([sys.executable, "-c", _ROUNDS, *fit, "--out", str(run), *small])
        begin, end, gaps = _least("BEGIN", text), _least("END", text), _gaps(run)
    return [
        Row(
            "from the command to the end of the first training step, demo settings",
            f"{min(first):.1f} s by the clock, {min(cpu):.1f} s of CPU",
            f"of which imports: {min(imports):.1f} s by the clock",
            aim="12 s",
        ),
        Row(
            "from a round's state on the disk to its first training step, demo network",
            f"{begin[0]:.2f} s by the clock, {begin[1]:.2f} s of CPU",
            f"to the end of that step: {end[0]:.2f} s by the clock, {end[1]:.2f} s of CPU",
            aim="1 s",
        ),
        Row(
            "a whole round of 1 epoch, from the metrics of one round to those of the next, demo network",
            f"{min(gaps):.2f} s by the clock",
        ),
    ]


def _gaps(run: Path) -> list[float]:
    """Seconds from the metrics of one round to those of the next: prediction, choice, answers and fit."""
    rounds = sorted((run / "rounds").iterdir())
    times = [(r / "metrics.json").stat().st_mtime for r in rounds if (r / "metrics.json").is_file()]
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[1:4]} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def _least(word: str, text: str) -> tuple[float, float]:
    """The least of what stands after a word, by each clock."""
    found = [line.split()[1:] for line in text.splitlines() if line.startswith(f"{word} ")]
    return min(float(clock) for clock, _ in found), min(float(cpu) for _, cpu in found)


def _after(word: str, text: str) -> float:
    return float(text.split(word)[1].split()[0])
