"""How fast ``kneeal prepare dicom`` goes through an archive, and whether its memory grows with it.

python benchmarks/prepare.py

A few films of 2,400 x 2,000 px, 16 bit, are drawn and saved as many DICOM files, each of another patient and with its
rows rolled, in a temporary folder (not timed). The whole command then runs on them with all cores, first on a part of
them, then on all; beside it, in the same run, one process that only reads the same files with pydicom and takes their
percentiles.
Linux only: memory and processor time of the command's processes are read in /proc.
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

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "speed"))

PAGE = Path(__file__).parents[1] / "docs" / "prepare.md"
SIZE_MM, MM_PER_PX = (400.0, 1000 / 3), 1 / 6
#: More growth of the parent's peak than this a film is a leak: a row of the manifest and its bookkeeping are small.
MOST_KB_A_FILM = 30.0
_PLAIN = """
import sys, time
import numpy as np, pydicom
paths = sys.argv[1:]
started, used = time.perf_counter(), time.process_time()
for path in paths:
    np.percentile(pydicom.dcmread(path).pixel_array, (5, 99))
print(time.perf_counter() - started, time.process_time() - used)
"""


@dataclass
class Watched:
    """What was seen of a command: clocks in seconds, memory in MB."""

    n: int
    wall: float = 0.0
    cpu: float = 0.0
    first: float = 0.0
    parent_mb: float = 0.0
    worker_mb: float = 0.0
    peaks: dict[int, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Films a second, start-up included."""
        return self.n / self.wall

    @property
    def rate_after(self) -> float:
        """Films a second after the first was finished."""
        return (self.n - 1) / max(self.wall - self.first, 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=int, default=400)
    parser.add_argument("--part", type=int, default=100, help="films of the first run, to compare the memory with")
    parser.add_argument("--drawn", type=int, default=8, help="different films")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=PAGE, help="page whose table is replaced; - prints it only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kneeal-bench-") as name:
        folder = Path(name)
        paths = write_films(folder / "films", options.films, options.drawn)
        (folder / "part.txt").write_text("".join(f"films/{p.name}\n" for p in paths[: options.part]), encoding="utf-8")
        (folder / "all.txt").write_text("".join(f"films/{p.name}\n" for p in paths), encoding="utf-8")
        plain = read_plainly(paths[: min(options.part, 60)])
        part = watch(folder / "part.txt", folder / "part", options.part, options.workers)
        whole = watch(folder / "all.txt", folder / "all", options.films, options.workers)
    text = report(plain, part, whole, options.workers)
    print(text)
    if str(options.out) != "-":
        from page import put

        put(options.out, "speed of prepare", text, by="benchmarks/prepare.py")
    grown = 1000 * (whole.parent_mb - part.parent_mb) / max(whole.n - part.n, 1)
    if grown > MOST_KB_A_FILM:
        sys.exit(f"the parent's memory grows by {grown:.0f} kB a film: more than {MOST_KB_A_FILM:g}")


def write_films(folder: Path, n: int, drawn: int) -> list[Path]:
    """DICOM files, each of another patient."""
    from kneeal.archive.generate import film_header
    from kneeal.films import FilmOptions, draw_film

    folder.mkdir()
    headers = []
    for k in range(drawn):
        film = draw_film(k, 5, FilmOptions(size_mm=SIZE_MM, mm_per_px=MM_PER_PX))
        header = film_header(film.grey, film.mm_per_px, patient="0", number=k)
        headers.append((header, np.frombuffer(header.PixelData, np.uint16).reshape(film.grey.shape)))
    paths = []
    for k in range(n):
        header, pixels = headers[k % drawn]
        header.PatientID = f"{9_000_000 + k}"
        header.PixelData = np.roll(pixels, k // drawn % 40, axis=0).tobytes()
        path = folder / f"{k:05d}.dcm"
        header.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def read_plainly(paths: list[Path]) -> tuple[float, float]:
    """Seconds by the clock and of processor time a film, in one process that reads and takes percentiles."""
    done = subprocess.run([sys.executable, "-c", _PLAIN, *map(str, paths)], capture_output=True, text=True, check=True)
    wall, cpu = map(float, done.stdout.split())
    return wall / len(paths), cpu / len(paths)


def watch(source: Path, out: Path, n: int, workers: int) -> Watched:
    """Run the command and watch its processes."""
    seen = Watched(n)
    work = out.with_suffix(".work")
    command = [sys.executable, "-m", "kneeal", "prepare", "dicom", source, "--out", out, "--work", work,
               "--workers", workers]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    with (out.with_suffix(".log")).open("w") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        while process.poll() is None:
            time.sleep(0.1)
            if not seen.first and any(work.glob("*/*.npz")):
                seen.first = time.perf_counter() - started
            for pid in (process.pid, *_children(process.pid)):
                seen.peaks[pid] = max(seen.peaks.get(pid, 0.0), _peak_mb(pid))
    seen.wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seen.cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if process.returncode:
        sys.exit(out.with_suffix(".log").read_text()[-2000:])
    seen.parent_mb = seen.peaks.pop(process.pid)
    seen.worker_mb = max(seen.peaks.values(), default=0.0)
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


def report(plain: tuple[float, float], part: Watched, whole: Watched, workers: int) -> str:
    """The table and what it was measured on."""
    # What both runs do once (start-up, imports, networks) falls out of the difference.
    share = (whole.cpu - part.cpu) / (whole.n - part.n) if whole.n > part.n else whole.cpu / whole.n
    lines = [
        f"| `kneeal prepare dicom`, {workers} processes | {part.n} films | {whole.n} films |",
        "| --- | --- | --- |",
        f"| films a second, start-up included | {part.rate:.1f} | {whole.rate:.1f} |",
        f"| films a second after the first | {part.rate_after:.1f} | {whole.rate_after:.1f} |",
        f"| seconds until the first film was finished | {part.first:.1f} | {whole.first:.1f} |",
        f"| processor seconds a film, all processes, start-up included | {part.cpu / part.n:.3f} "
        f"| {whole.cpu / whole.n:.3f} |",
        f"| peak memory of the command's own process, MB | {part.parent_mb:.0f} | {whole.parent_mb:.0f} |",
        f"| peak memory of a worker process, MB | {part.worker_mb:.0f} | {whole.worker_mb:.0f} |",
        "",
        f"Each further film costs {share:.3f} s of processor time. In the same run one process that only reads the "
        f"films with pydicom and takes two percentiles with NumPy used {plain[1]:.3f} s of processor time a film and "
        f"read {1 / plain[0]:.1f} a second. Machine: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end "
        f"(one minute; the command itself makes {workers}). Films of 2,400 x 2,000 px, 16 bit, uncompressed.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
