"""What `kneeal report` costs for the whole of Table 2, against only reading the runs' files.

python benchmarks/report.py
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks" / "speed")]
from helpers.fake_runs import write_study  # noqa: E402
from page import put  # noqa: E402

PAGE = ROOT / "docs" / "studies.md"
#: As in the paper: five seeds, 50 labels to 800, and about as many training and test knees.
SIZE = {"n_rounds": 16, "n_query": 50, "n_pool": 7000, "n_test": 1400}


def read_only(study: Path) -> int:
    """Parse every table and JSON file of the runs and do nothing with them."""
    files = 0
    for path in study.rglob("*"):
        if path.suffix == ".csv":
            pd.read_csv(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        files += path.is_file()
    return files


def cpu_seconds() -> float:
    """Of this process and those that it has waited for: other work on the machine does not change it much."""
    return sum(os.times()[:4])


def main() -> None:
    """Measure twice, count the faster, and write the page."""
    with tempfile.TemporaryDirectory() as name:
        study = write_study(Path(name) / "table2", 5, **SIZE)
        reading, reporting = [], []
        for turn in range(2):
            start = cpu_seconds()
            files = read_only(study)
            reading.append(cpu_seconds() - start)
            start = cpu_seconds()
            command = [sys.executable, "-m", "kneeal", "report", str(study), "--out", str(Path(name) / f"out{turn}")]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=name)
            reporting.append(cpu_seconds() - start)
        page = (Path(name) / "out0" / "report.html").stat().st_size
    ours, least = min(reporting), min(reading)
    put(
        PAGE,
        "report speed",
        f"The whole of Table 2 (50 invented runs, 16 rounds, {SIZE['n_test']:,} test knees, {files:,} files): "
        f"{ours:.1f} s of CPU time, start-up of Python included, against {least:.1f} s for only parsing "
        f"the same files with pandas ({ours / least:.1f} times as long). The page has {page / 2**20:.1f} MiB. "
        f"{os.cpu_count()} cores ({platform.machine()}), load {os.getloadavg()[0]:.1f}; written by "
        "`make bench-report`.",
        by="benchmarks/report.py",
    )
    print(f"report {ours:.1f} CPU s, reading alone {least:.1f} CPU s")


if __name__ == "__main__":
    main()
