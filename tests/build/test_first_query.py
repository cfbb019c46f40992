"""The report of the grades that the first labels cover, and a run that begins with such a query."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from helpers.commands import QUICK, done

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "first_query.py"
#: A strategy without samples has no option n_samples.
TINY = ["--set", "active.options={}"]


@pytest.fixture(scope="module")
def report() -> ModuleType:
    spec = importlib.util.spec_from_file_location("first_query_benchmark", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_coverage_is_counted_by_hand(report: ModuleType) -> None:
    found = report.summarize([[0, 0, 1, 2, 3, 4], [0, 0, 0, 0, 0, 1]])
    assert found["covered"] == pytest.approx(3.5)
    assert found["all"] == pytest.approx(0.5)
    assert found["rarest"] == pytest.approx(0.5)
    assert [found[f"g{g}"] for g in range(5)] == [3.5, 1.0, 0.5, 0.5, 0.5]
    assert report.against([[0, 1, 2, 3, 4], [0]], [[0], [1, 2]]) == (1, 0)


def test_the_page_is_about_the_queries_that_a_run_makes(report: ModuleType, data: Path, tmp_path: Path) -> None:
    [grades] = report.first_grades(data, "kmeans", seeds=1, knees=6, init=None)
    run = tmp_path / "run"
    first = ["--set", "active.first_query=kmeans", "--set", "active.first_features=pixels"]
    done("fit", "--strategy", "entropy", "--data", data, "--out", run, *QUICK, *first, *TINY)
    asked = json.loads((run / "start/query.json").read_text())["ids"]
    manifest = dict(line.split(",")[0:5:4] for line in (data / "manifest.csv").read_text().splitlines()[1:])
    assert grades == [int(manifest[i]) for i in asked]
    page = report.page({"pixels": {"random": [grades], "kmeans": [grades]}}, data="here", knees=6)
    assert "## pixels" in page and "| `kmeans` |" in page and "0 : 0" in page


COMMAND = [
    *("fit", "--strategy", "entropy", *QUICK, *TINY),
    *("--set", "active.first_query=typiclust", "--set", "active.first_features=pixels"),
]


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    done(*COMMAND, "--data", data, "--out", run)
    return run


@pytest.mark.parametrize("killed_after", ["the first query", "a round"])
def test_a_run_with_such_a_query_resumes_to_the_same_queries(
    data: Path, whole: Path, tmp_path: Path, killed_after: str
) -> None:
    # What a process killed at that instant leaves behind.
    for name in ("config.yaml", "run.json"):
        shutil.copy(whole / name, tmp_path)
    shutil.copytree(whole / "start", tmp_path / "start")
    if killed_after == "the first query":
        (tmp_path / "start/answers.json").unlink()
    else:
        shutil.copytree(whole / "rounds/000", tmp_path / "rounds/000")
    done(*COMMAND, "--data", data, "--out", tmp_path, "--resume")
    for file in ("start/query.json", "rounds/000/query.json", "rounds/001/query.json"):
        assert json.loads((tmp_path / file).read_text())["ids"] == json.loads((whole / file).read_text())["ids"], file
