"""The real command line, on synthetic knees: a narrow network, small patches, few epochs."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = [
    *("--set", "data.patch_size=16", "--set", "model.width=2", "--set", "training.epochs=2"),
    *(
        "--set",
        "training.milestones=[1]",
        "--set",
        "training.eval_batch_size=32",
        "--set",
        "active.options.n_samples=4",
    ),
    *("--set", "active.n_init=12", "--set", "active.n_query=8", "--set", "active.budget=28"),
    *("--set", "tracking.mode=none", "--accelerator", "cpu"),
]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}


def kneeal(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kneeal", *map(str, arguments)],
        capture_output=True, text=True, check=False, env=environment(), stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "knees"
    done = kneeal("demo-data", "--out", path, "--knees", "240")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = kneeal("fit", "--strategy", "mi_mcd", "--data", data, "--out", run, *SMALL)
    assert done.returncode == 0, done.stderr
    (run / "stdout.txt").write_text(done.stdout)
    (run / "stderr.txt").write_text(done.stderr)
    return run


def rounds(run: Path) -> list[dict[str, str]]:
    with (run / "rounds.csv").open() as file:
        return [{k: v for k, v in row.items() if not k.endswith("_seconds")} for row in csv.DictReader(file)]


def queries(run: Path) -> list[list[str]]:
    files = (run / "start/query.json", *sorted(run.glob("rounds/*/query.json")))
    return [json.loads(path.read_text())["ids"] for path in files]


def same(run: Path, other: Path) -> None:
    assert queries(run) == queries(other)
    assert rounds(run) == rounds(other)
    for path in other.glob("rounds/*/scores.csv"):
        assert (run / path.relative_to(other)).read_text() == path.read_text()


def test_a_run_leaves_the_files_of_the_contract(whole: Path) -> None:
    assert [r["n_labeled"] for r in rounds(whole)] == ["12", "20", "28"]
    assert [r["n_pseudo"] for r in rounds(whole)] == ["0", "20", "28"]
    for number in range(3):
        folder = whole / "rounds" / f"{number:03d}"
        expected = {"state.json", "metrics.json", "test_predictions.csv", "best.ckpt", "query.json"}
        expected |= {"scores.csv", "query_predictions.csv", "answers.json"} if number < 2 else set()
        assert {path.name for path in folder.iterdir()} == expected
    with (whole / "rounds/002/test_predictions.csv").open() as file:
        predictions = list(csv.DictReader(file))
    assert list(predictions[0]) == ["knee_id", "kl", "p0", "p1", "p2", "p3", "p4", "uncertainty"]
    assert all(abs(sum(float(p[f"p{k}"]) for k in range(5)) - 1) < 1e-4 for p in predictions)
    with (whole / "rounds/001/scores.csv").open() as file:
        roles = [row["role"] for row in csv.DictReader(file)]
    assert (roles.count("query"), roles.count("pseudo")) == (8, 28)


def test_metrics_of_a_round_are_those_of_its_predictions(whole: Path) -> None:
    with (whole / "rounds/001/test_predictions.csv").open() as file:
        predictions = list(csv.DictReader(file))
    hits: dict[str, list[bool]] = {}
    for p in predictions:
        hits.setdefault(p["kl"], []).append(max(range(5), key=lambda k: float(p[f"p{k}"])) == int(p["kl"]))
    expected = sum(sum(h) / len(h) for h in hits.values()) / len(hits)
    assert float(rounds(whole)[1]["test_balanced_accuracy"]) == pytest.approx(expected, abs=1e-5)


def test_it_ends_with_the_table_and_the_figures(whole: Path) -> None:
    output = (whole / "stdout.txt").read_text()
    assert "test BA %" in output
    figures = [Path(line.removeprefix("figure: ")) for line in output.splitlines() if line.startswith("figure: ")]
    assert len(figures) == 3
    assert all(path.stat().st_size > 5000 for path in figures)


def test_a_log_file_gets_plain_lines(whole: Path) -> None:
    log = (whole / "stderr.txt").read_text()
    assert "\r" not in log
    assert "\x1b" not in log
    lines = [line for line in log.splitlines() if line.startswith("round")]
    assert len(lines) == 3
    assert "labels   12" in lines[0]
    assert "left" in lines[0]
    assert "Warning" not in log


def test_no_patient_is_in_two_places(whole: Path, data: Path) -> None:
    with (data / "manifest.csv").open() as file:
        knees = {row["knee_id"]: row for row in csv.DictReader(file)}
    with (whole / "rounds/000/test_predictions.csv").open() as file:
        test = {row["knee_id"] for row in csv.DictReader(file)}
    state = json.loads((whole / "rounds/002/state.json").read_text())
    pool = {i for i, _ in state["labeled"]} | set(state["unlabeled"])
    assert {knees[i]["site"] for i in test} == {"E"}
    assert not {knees[i]["patient_id"] for i in pool} & {knees[i]["patient_id"] for i in test}
    held_out = set(knees) - pool - test
    assert not {knees[i]["patient_id"] for i in pool} & {knees[i]["patient_id"] for i in held_out}
    assert len(held_out) == pytest.approx(0.2 * (len(knees) - len(test)), rel=0.15)


def test_the_same_seed_gives_the_same_run_and_another_does_not(whole: Path, data: Path, tmp_path: Path) -> None:
    assert kneeal("fit", "--data", data, "--out", tmp_path / "a", *SMALL).returncode == 0
    same(tmp_path / "a", whole)
    short = ["--set", "active.budget=12"]
    assert kneeal("fit", "--data", data, "--out", tmp_path / "b", "--seed", "1", *SMALL, *short).returncode == 0
    assert queries(tmp_path / "b")[0] != queries(whole)[0]


#: A command that is killed as soon as a file exists: at the next event that Python audits, such as an opened file.
KILLED = """
import os, signal, sys
mark = sys.argv.pop(1)
sys.addaudithook(lambda *_: signal.raise_signal(signal.SIGKILL) if os.access(mark, os.F_OK) else None)
from kneeal.cli import main
main()
"""


@pytest.mark.parametrize("when", ["rounds/000/fit", "rounds/001/metrics.json", "rounds/001/query.json", "rounds/002"])
def test_killed_it_resumes_to_the_same_run(whole: Path, data: Path, tmp_path: Path, when: str) -> None:
    run = tmp_path / "run"
    arguments = ["fit", "--strategy", "mi_mcd", "--data", str(data), "--out", str(run), *SMALL]
    command = [sys.executable, "-c", KILLED, str(run / when), *arguments]
    killed = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (run / "rounds/002/query.json").exists(), "killed too late to show anything"
    refused = kneeal(*arguments)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    done = kneeal(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    same(run, whole)


def test_another_configuration_is_refused_with_the_keys(whole: Path, data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    done = kneeal("fit", "--strategy", "entropy_mcd", "--data", data, "--out", whole, "--resume", "--seed", "3", *SMALL)
    assert done.returncode == 2
    assert "active.strategy ('mi_mcd' there, 'entropy_mcd' now)" in done.stderr
    assert "seed (0 there, 3 now)" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()} == before


def test_another_data_set_is_refused(whole: Path, data: Path, tmp_path: Path) -> None:
    assert kneeal("demo-data", "--out", tmp_path / "other", "--knees", "240", "--seed", "1").returncode == 0
    done = kneeal("fit", "--data", tmp_path / "other", "--out", whole, "--resume", *SMALL)
    assert done.returncode == 2
    assert f"another data set than {tmp_path / 'other'}" in done.stderr and f"({data} at that time)" in done.stderr


def test_a_finished_run_resumed_prints_its_table_again(whole: Path, data: Path) -> None:
    done = kneeal("fit", "--data", data, "--out", whole, "--resume", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "test BA %" in done.stdout


def test_two_processes_make_the_run_of_three_rounds(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = [*SMALL, "--devices", "2", "--set", "training.batch_size=8"]
    done = kneeal("fit", "--data", data, "--out", run, *options)
    assert done.returncode == 0, done.stderr
    assert [r["n_labeled"] for r in rounds(run)] == ["12", "20", "28"]
    states = [json.loads(p.read_text()) for p in sorted(run.glob("rounds/*/state.json"))]
    with (run / "rounds/001/scores.csv").open() as file:
        scored = [row["knee_id"] for row in csv.DictReader(file)]
    assert sorted(scored) == sorted(states[1]["unlabeled"]), "every pool knee scored exactly once"
    assert done.stdout.count("test BA %") == 1, "one process talks"

    # With the checkpoint of that run, one process makes the same query.
    for number in (0, 1):
        for name in ("query.json", "scores.csv", "answers.json"):
            (run / f"rounds/{number:03d}/{name}").rename(run / f"rounds/{number:03d}/{name}.two")
    alone = tmp_path / "alone"
    shutil.copytree(run, alone, ignore=shutil.ignore_patterns("001", "002", "figures", "rounds.csv"))
    short = [*SMALL, "--set", "training.batch_size=8"]
    refused = kneeal("fit", "--data", data, "--out", alone, "--resume", *short)
    assert refused.returncode == 2 and "compute.devices (2 there, 1 now)" in refused.stderr
    text = (alone / "config.yaml").read_text()
    (alone / "config.yaml").write_text(text.replace("devices: 2", "devices: 1"))
    again = kneeal("fit", "--data", data, "--out", alone, "--resume", *short)
    assert again.returncode == 0, again.stderr
    one = json.loads((alone / "rounds/000/query.json").read_text())
    two = json.loads((run / "rounds/000/query.json.two").read_text())
    assert one["ids"] == two["ids"]
    assert one["pseudo"] == two["pseudo"]
    assert list(one["scores"].values()) == pytest.approx(list(two["scores"].values()), abs=1e-5)


def test_wandb_offline_file_of_a_real_run(data: Path, tmp_path: Path) -> None:
    from helpers.wandb_file import read_finished

    run = tmp_path / "run"
    options = [*SMALL, "--set", "tracking.mode=offline", "--set", "tracking.knees=true", "--set", "active.budget=20"]
    done = kneeal("fit", "--strategy", "entropy_mcd", "--no-ssl", "--data", data, "--out", run, *options)
    assert done.returncode == 0, done.stderr
    (file,) = run.glob("wandb/offline-run-*/*.wandb")
    records = read_finished(file)
    rows = [
        {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in r.history.item}
        for r in records
        if r.HasField("history")
    ]
    assert [row["al/n_labeled"] for row in rows] == [12, 20]
    assert rows[1]["test/balanced_accuracy"] == pytest.approx(float(rounds(run)[1]["test_balanced_accuracy"]), abs=1e-5)
    assert rows[0]["al/query_knees/count"] == 8
    (header,) = [r.run for r in records if r.HasField("run")]
    assert header.run_group == "entropy_mcd-naive"
