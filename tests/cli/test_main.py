"""`python -m kneeal` in a folder whose files have the names of modules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import kneeal


def test_files_of_the_working_directory_are_no_modules(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise SystemExit(9)\n")
    done = subprocess.run(
        [sys.executable, "-m", "kneeal", "--version"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(kneeal.__path__[0]).parent)},
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.startswith("kneeal "), done.stderr
