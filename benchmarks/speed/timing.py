"""Fair timing on a machine that others use too: candidates take turns, and the fastest turn of each counts."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Turn:
    """What one turn took: seconds by the clock, and of CPU in this process and its finished children."""

    clock: float
    cpu: float


#: Does the work once. What gives back a Turn times itself, for example to leave out its start-up.
Candidate = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    figure: str  #: What was measured.
    ours: str  #: Its value, with unit.
    against: str = ""  #: What it is compared with, and that value.
    ratio: str = ""  #: How many times as fast ours is, or what the figure is itself.
    aim: str = ""  #: What was aimed at.
    load: float = field(default_factory=lambda: os.getloadavg()[0])


def now() -> Turn:
    """The two clocks."""
    times = os.times()
    return Turn(time.perf_counter(), times.user + times.system + times.children_user + times.children_system)


def since(start: Turn) -> Turn:
    """What passed since `start`."""
    end = now()
    return Turn(end.clock - start.clock, end.cpu - start.cpu)


def take_turns(candidates: Mapping[str, Candidate], *, rounds: int, seconds: float = 60.0) -> dict[str, Turn]:
    """The fastest turn of each candidate, by each clock; each begins out of torch's deterministic mode.

    Args:
        candidates: By name. Each has one turn a round, so that a busy minute of the machine hits all of them.
        rounds: Turns of each, after one round that warms up and does not count.
        seconds: No further round begins after this long; one round always counts.
    """
    best: dict[str, Turn] = {}
    start = time.perf_counter()
    for number in range(rounds + 1):
        if number > 1 and time.perf_counter() - start > seconds:
            break
        for name, work in candidates.items():
            torch.use_deterministic_algorithms(False)  # only ours wants it, and Lightning leaves it on
            synchronize()
            begin = now()
            given = work()
            synchronize()
            turn = given if isinstance(given, Turn) else since(begin)
            if number:
                old = best.get(name, turn)
                best[name] = Turn(min(old.clock, turn.clock), min(old.cpu, turn.cpu))
    return best


def synchronize() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ratio(ours: Turn, other: Turn) -> str:
    """How many times as fast ours is: by the clock and, on a CPU, by CPU time, which a busy machine changes less."""
    by_clock = f"{other.clock / ours.clock:.2f}x"
    return by_clock if torch.cuda.is_available() else f"{by_clock} ({other.cpu / max(ours.cpu, 1e-9):.2f}x CPU)"


def rates(best: Mapping[str, Turn], n_knees: int) -> dict[str, str]:
    """Knees a second by the clock, of each candidate."""
    return {name: f"{n_knees / turn.clock:.3g} knees/s" for name, turn in best.items()}


def overhead(ours: Turn, bare: Turn) -> str:
    """How much longer ours takes, by the clock and, on a CPU, by CPU time."""
    by_clock = f"{ours.clock / bare.clock - 1:+.1%}"
    return by_clock if torch.cuda.is_available() else f"{by_clock} ({ours.cpu / max(bare.cpu, 1e-9) - 1:+.1%} CPU)"


def machine(device: torch.device) -> str:
    """One line that describes the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    threads = f"{torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB memory{gpu}; torch {torch.__version__} "
        f"with {threads}, Python {platform.python_version()}"
    )
