"""How fast ``kneeal prepare dicom`` goes through an archive, and whether its memory grows with it.

python benchmarks/prepare.py [--radiographs 10000]

A few dozen radiographs of 2,400 x 2,000 px, 16 bit, are drawn and saved as DICOM files in a temporary folder, and
linked under as many names as wanted, each another patient's by a table (not timed). The whole command then runs on
them with all cores and is watched: what was finished, used and held when a tenth, half, and all of the radiographs
were done. Beside it, in the same run, one process that only reads the same files with pydicom and takes their
percentiles.

What this leaves out: the few dozen files lie in memory after the first pass, so that an archive on a slow disk takes
longer. Linux only: memory and processor time of the command's processes are read in /proc.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks" / "speed")]

PAGE = ROOT / "docs" / "prepare.md"
SIZE_MM, MM_PER_PX = (400.0, 1000 / 3), 1 / 6
#: More growth of the parent's peak than this per radiograph is a leak: a row of the manifest and its bookkeeping are
#: small.
MAX_KB_PER_RADIOGRAPH = 30.0
#: Seconds between two looks at the processes; counting what is finished takes a few ms of each.
_LOOK_S = 0.5
_TICKS = os.sysconf("SC_CLK_TCK")
_PLAIN = """
import sys, time
import numpy as np, pydicom
paths = sys.argv[1:]
started, used = time.perf_counter(), time.process_time()
for path in paths:
    np.percentile(pydicom.dcmread(path).pixel_array, (5, 99))
print(time.perf_counter() - started, time.process_time() - used)
"""


@dataclass(frozen=True)
class Mark:
    """What was seen when so many radiographs were finished: seconds since the start, memory in MB."""

    radiographs: int
    wall: float
    cpu: float
    parent_mb: float
    worker_mb: float


@dataclass
class Watched:
    """What was seen of a command; the last mark is its end."""

    n: int
    marks: list[Mark] = field(default_factory=list)
    first: float = 0.0
    wall: float = 0.0
    end_mb: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--radiographs", type=int, default=400)
    parser.add_argument("--drawn", type=int, default=32, help="different radiographs")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=PAGE, help="page whose table is replaced; - prints it only")
    parser.add_argument(
        "--scratch", type=Path, help="folder for the radiographs and the results, about 0.3 MB per radiograph"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kneeal-bench-", dir=options.scratch) as name:
        folder = Path(name)
        drawn = write_radiographs(folder / "radiographs", folder / "grades.csv", options.radiographs, options.drawn)
        plain = read_plainly(drawn)
        seen = watch(folder, options.radiographs, options.workers)
    text = report(plain, seen, options.workers, len(drawn))
    print(text)
    if str(options.out) != "-":
        from page import put

        put(options.out, "speed of prepare", text, by="benchmarks/prepare.py")
    grown = 1000 * (seen.marks[-1].parent_mb - seen.marks[0].parent_mb) / max(seen.n - seen.marks[0].radiographs, 1)
    if grown > MAX_KB_PER_RADIOGRAPH:
        sys.exit(f"the parent's memory grows by {grown:.0f} kB per radiograph: more than {MAX_KB_PER_RADIOGRAPH:g}")


def write_radiographs(folder: Path, table: Path, n: int, drawn: int) -> list[Path]:
    """Draw radiographs, link them under `n` names, and write the table of their patients; the files that were drawn."""
    from helpers.archive import write_radiograph

    from tools.radiographs import RadiographOptions, draw_radiograph

    files = [folder / f"drawn-{k:02d}.dcm" for k in range(min(drawn, n))]
    for k, path in enumerate(files):
        write_radiograph(
            path, draw_radiograph(k, 5, RadiographOptions(size_mm=SIZE_MM, mm_per_px=MM_PER_PX)), patient="0", number=k
        )
    rows = ["patient,side,grade,file"]
    for k in range(n):
        name = f"{k // 1000:03d}/{k:06d}.dcm"
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).hardlink_to(files[k % len(files)])
        rows += [f"{9_000_000 + k},{side},{k % 5},{name}" for side in "RL"]
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return files


def read_plainly(paths: list[Path]) -> tuple[float, float]:
    """Seconds by the clock and of processor time per radiograph, in one process that reads and takes percentiles."""
    done = subprocess.run([sys.executable, "-c", _PLAIN, *map(str, paths)], capture_output=True, text=True, check=True)
    wall, cpu = map(float, done.stdout.split())
    return wall / len(paths), cpu / len(paths)


def watch(folder: Path, n: int, workers: int) -> Watched:
    """Run the command and watch its processes."""
    seen, peaks = Watched(n), dict[int, float]()
    wanted = sorted({max(1, n // 10), max(1, n // 2), n})
    work, log = folder / "work", folder / "log.txt"
    # Radiographs that are rejected wrongly are no matter of speed; without --markers a few in a hundred would be.
    command = [sys.executable, "-m", "kneeal", "prepare", "dicom", folder / "radiographs", "--table", folder /
               "grades.csv", "--path-column", "file", "--out", folder / "knees", "--work", work, "--workers", workers,
               "--markers", "check"]  # fmt: skip
    before, started = _ended_s(), time.perf_counter()

    def look(*, ended: bool = False) -> None:
        finished = sum(1 for _ in work.glob("*/*.npz"))
        now, crew = time.perf_counter() - started, _children(process.pid)
        for pid in (process.pid, *crew):
            peaks[pid] = max(peaks.get(pid, 0.0), _peak_mb(pid))
        if finished and not seen.first:
            seen.first = now
        while len(seen.marks) < len(wanted) and finished >= wanted[len(seen.marks)]:
            cpu = _ended_s() - before if ended else _cpu_s(process.pid) + sum(map(_cpu_s, crew))
            others = [mb for pid, mb in peaks.items() if pid != process.pid]
            seen.marks.append(Mark(finished, now, cpu, peaks[process.pid], max(others, default=0.0)))

    with log.open("w") as output:
        process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        while process.poll() is None:
            time.sleep(_LOOK_S if seen.first else 0.05)
            look()
    look(ended=True)
    seen.wall = time.perf_counter() - started
    if process.returncode or len(seen.marks) < len(wanted):
        sys.exit(log.read_text()[-2000:])
    seen.end_mb = peaks[process.pid]
    return seen


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _peak_mb(pid: int) -> float:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found.group(1)) / 1000 if found else 0.0


def _cpu_s(pid: int) -> float:
    """Processor time of a process and of those of its children that have ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    return sum(map(int, text.rpartition(")")[2].split()[11:15])) / _TICKS


def _ended_s() -> float:
    """Processor time of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def report(plain: tuple[float, float], seen: Watched, workers: int, drawn: int) -> str:
    """The table and what it was measured on."""
    before = [Mark(0, 0.0, 0.0, 0.0, 0.0), *seen.marks[:-1]]
    steps = list(zip(before, seen.marks, strict=True))

    def row(name: str, values: list[str]) -> str:
        return f"| {name} | {' | '.join(values)} |"

    later = [(b.radiographs - a.radiographs) / max(b.wall - a.wall, 1e-9) for a, b in steps]
    costs = [(b.cpu - a.cpu) / (b.radiographs - a.radiographs) for a, b in steps]
    lines = [
        row(
            f"`kneeal prepare dicom`, {workers} processes, after",
            [f"{mark.radiographs:,} radiographs" for mark in seen.marks],
        ),
        row("---", ["---"] * len(seen.marks)),
        row("radiographs per second since the start", [f"{mark.radiographs / mark.wall:.1f}" for mark in seen.marks]),
        row("radiographs per second since the column before", [f"{rate:.1f}" for rate in later]),
        row(
            "processor seconds per radiograph since the column before, all processes", [f"{cost:.3f}" for cost in costs]
        ),
        row("peak memory of the command's own process so far, MB", [f"{mark.parent_mb:.0f}" for mark in seen.marks]),
        row("peak memory of a worker process so far, MB", [f"{mark.worker_mb:.0f}" for mark in seen.marks]),
        "",
        f"The first radiograph was finished after {seen.first:.1f} s, the whole command after {seen.wall:.0f} s, "
        f"the data set and the contact sheet included; its own process held at most {seen.end_mb:.0f} MB. In the same "
        f"run one process that only reads the radiographs with pydicom and takes two percentiles with NumPy used "
        f"{plain[1]:.3f} s of processor time per radiograph and read {1 / plain[0]:.1f} per second. Machine: "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end (one minute; the command itself "
        f"makes {workers}). Radiographs of 2,400 x 2,000 px, 16 bit, uncompressed: {drawn} different ones, linked "
        f"under {seen.n:,} names, so that all but the first reading of each came from memory and not from a disk.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
