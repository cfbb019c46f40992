"""What an installation from the source distribution can do, without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from helpers.commands import QUICK

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that the source distribution builds, installed alone; dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("package")
    run("hatchling", "build", "--target", "sdist", "--directory", folder, cwd=ROOT)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (source,) = folder.glob("kneeal-*/")
    run("hatchling", "build", "--target", "wheel", "--directory", folder, cwd=source)
    (wheel,) = folder.glob("*.whl")
    run("pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder / "site", wheel, cwd=folder)
    return folder / "site"


def run(*command: str | Path, cwd: Path, site: Path | None = None) -> str:
    # The checkout must not be found: neither by the working directory nor by the path of the tests.
    environment = {**os.environ, "PYTHONPATH": str(site or "")}
    result = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_an_installed_package_runs_the_demo(installed: Path, tmp_path: Path) -> None:
    assert (
        str(installed)
        in subprocess.run(
            [sys.executable, "-c", "import kneeal; print(kneeal.__file__)"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
        ).stdout
    )
    run("kneeal", "demo-data", "--out", "demo-data", "--knees", "120", cwd=tmp_path, site=installed)
    command = ("fit", "--strategy", "mi_mcd", "--config", "demo", "--data", "demo-data", "--out", "run", *QUICK)
    run("kneeal", *command, cwd=tmp_path, site=installed)
    assert (tmp_path / "run" / "rounds.csv").read_text().count("\n") == 4


def test_every_file_of_the_package_is_in_the_source_distribution(installed: Path) -> None:
    tracked = {p.relative_to(ROOT / "kneeal") for p in (ROOT / "kneeal").rglob("*") if p.is_file()}
    there = {p.relative_to(installed / "kneeal") for p in (installed / "kneeal").rglob("*") if p.is_file()}
    assert {p for p in tracked if "__pycache__" not in p.parts} <= there


def test_developer_tools_are_in_the_source_distribution_and_not_in_the_wheel(installed: Path) -> None:
    (source,) = (path for path in installed.parent.glob("kneeal-*/") if path.is_dir())
    assert (source / "tools" / "radiographs" / "bilateral.py").is_file()
    assert not (installed / "tools").exists() and not list(installed.rglob("training/samples.py"))
