"""The command line in this process, which has the heavy imports behind it."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from kneeal.cli import run

#: A run that trains in a moment.
QUICK = [
    *("--set", "data.patch_size=8", "--set", "model.width=1", "--set", "training.epochs=1"),
    *("--set", "training.milestones=[1]", "--set", "active.options.n_samples=2", "--accelerator", "cpu"),
    *("--set", "active.n_init=6", "--set", "active.n_query=4", "--set", "active.budget=14"),
    *("--set", "tracking.mode=none"),
]


def kneeal(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    out, err = io.StringIO(), io.StringIO()
    status: int | str | None = 0
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kneeal", *map(str, arguments)])
        try:
            run()
        except SystemExit as exit:
            status = exit.code
    return subprocess.CompletedProcess([], int(status or 0), out.getvalue(), err.getvalue())


def done(*arguments: str | Path) -> str:
    """The output of a command that must succeed."""
    result = kneeal(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(result: subprocess.CompletedProcess[str], *messages: str) -> None:
    assert result.returncode == 2, result.stderr + result.stdout
    assert "Traceback" not in result.stderr and "Value error" not in result.stderr
    assert result.stderr.count("\n  expected: ") == result.stderr.count("\n  cure: ") == 1, result.stderr
    for message in messages:
        assert message in result.stderr
