"""The command line on a small archive, and a run on what it made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from kneeal.archive.generate import write_test_archive


def kneeal(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kneeal", *map(str, arguments)],
        capture_output=True, text=True, timeout=280, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"},
    )  # fmt: skip


def test_prepare_then_fit(tmp_path: Path) -> None:
    write_test_archive(tmp_path / "archive", patients=24, seed=0, mm_per_px=0.7)
    done = kneeal("prepare", "oai", tmp_path / "archive", "--out", tmp_path / "knees", "--markers", "check")
    assert done.returncode == 0, done.stderr
    assert "8953" in done.stdout and "sheet.html" in done.stdout
    assert "data:image/jpeg;base64," in (tmp_path / "knees" / "sheet.html").read_text()
    run = kneeal(
        "fit", "--strategy", "mi_mcd", "--data", tmp_path / "knees", "--out", tmp_path / "run", "--accelerator", "cpu",
        "--set", "data.patch_size=8", "--set", "model.width=1", "--set", "training.epochs=1",
        "--set", "training.milestones=[]", "--set", "active.options.n_samples=2", "--set", "active.n_init=5",
        "--set", "active.n_query=5", "--set", "active.budget=10", "--set", "tracking.mode=none",
        "--set", "training.batch_size=4",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "run" / "rounds.csv").is_file()


def test_mistakes_are_one_message(tmp_path: Path) -> None:
    done = kneeal("prepare", "oai", tmp_path / "none", "--out", tmp_path / "out")
    assert done.returncode == 2 and "no folder" in done.stderr and "Traceback" not in done.stderr
