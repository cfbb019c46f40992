"""A real package with a strategy: installed, found, run with an option, held to the contract."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1] / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has the plug-in installed."""
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(PLUGIN)], check=True)
    return {**os.environ, "PYTHONPATH": str(site)}


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_it_is_listed_with_its_option(installed: dict[str, str]) -> None:
    done = run(installed, "-m", "kneeal", "strategies")
    assert done.returncode == 0, done.stderr
    assert "  lucky " in done.stdout
    one = run(installed, "-m", "kneeal", "strategies", "lucky")
    assert "lucky: The knees whose entropy is nearest to a lucky number." in one.stdout
    assert "options: number=0.7" in one.stdout


def test_it_passes_the_contract_in_its_own_tests(installed: dict[str, str]) -> None:
    done = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PLUGIN / "test_lucky.py"))
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_names_that_are_taken_broken_or_no_strategy_are_refused_and_the_list_still_comes(
    installed: dict[str, str], tmp_path: Path
) -> None:
    copy = tmp_path / "other-1.0.dist-info"
    copy.mkdir()
    (copy / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (copy / "entry_points.txt").write_text(
        "[kneeal.strategies]\nentropy = kneeal_lucky:Lucky\nbroken = nowhere:Nothing\nnumber = math:pi\n"
    )
    environment = {**installed, "PYTHONPATH": f"{installed['PYTHONPATH']}{os.pathsep}{tmp_path}"}
    for name, message in {
        "entropy": "two strategies called 'entropy'",
        "broken": "'broken' of the package other cannot be loaded",
        "number": "'number' of the package other cannot be loaded (TypeError('3.14",
    }.items():
        found = run(environment, "-c", f"from kneeal import acquisition; acquisition.get({name!r})")
        assert message in found.stderr
    listed = run(environment, "-m", "kneeal", "strategies")
    assert listed.returncode == 0
    assert "mi_mcd" in listed.stdout
    assert "broken" in listed.stderr
