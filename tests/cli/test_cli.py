"""The command line's manners: quick help, one clear message and status 2 for a user's mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers.commands import done, kneeal, refused
from helpers.knees import pairs, table

from kneeal.data.prepared import renew_checksums, write_prepared

TINY = [
    *("--set", "data.patch_size=8", "--set", "model.width=1", "--set", "training.epochs=1", "--accelerator", "cpu"),
    *(
        "--set",
        "active.n_init=5",
        "--set",
        "active.n_query=5",
        "--set",
        "active.budget=10",
        "--set",
        "tracking.mode=none",
    ),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_prepared(tmp_path / "data", table(60), pairs(120, 128), source="test", options={})
    return tmp_path / "data"


@pytest.mark.parametrize("command", [[], ["fit"], ["prepare"], ["study"], ["prepare", "folder"]])
def test_help_has_a_short_form(command: list[str]) -> None:
    short, long = kneeal(*command, "-h"), kneeal(*command, "--help")
    assert short.returncode == long.returncode == 0
    assert short.stdout == long.stdout
    assert "Usage:" in short.stdout
    assert "..." not in short.stdout.partition("Commands:")[2], "a summary that does not fit"


def test_a_shell_can_complete_commands() -> None:
    environment = {**os.environ, "_KNEEAL_COMPLETE": "complete_bash", "COMP_WORDS": "kneeal st", "COMP_CWORD": "1"}
    program = "import sys; sys.argv[0] = 'kneeal'; from kneeal.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert result.stdout.split() == ["strategies", "stopping", "study"]


def test_the_random_baseline_runs_with_the_defaults(data: Path, tmp_path: Path) -> None:
    result = kneeal("fit", "--strategy", "random", "--data", data, "--out", tmp_path / "run", *TINY)
    assert result.returncode == 0, result.stderr
    assert "consistency  off: random has no score to choose a pseudo pool by" in result.stderr
    assert "consistency: false" in (tmp_path / "run/config.yaml").read_text()


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, kneeal.cli; print(sorted({'torch', 'pandas', 'wandb', 'numpy', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_version_and_strategies() -> None:
    assert kneeal("--version").stdout.startswith("kneeal 0.")
    listed = kneeal("strategies").stdout
    for name in ("random", "least_confidence", "entropy", "entropy_mcd", "mi_mcd"):
        assert f"\n  {name} " in listed
    assert listed.index("Baseline") < listed.index("Uncertainty")
    one = kneeal("strategies", "mi_mcd").stdout
    assert "needs: samples\n  options: n_samples=50" in one


def test_a_configuration_is_found_by_name_outside_the_checkout(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kneeal", "fit", "--config", "demo"], capture_output=True, text=True, cwd=tmp_path
    )
    refused(done, "no prepared data set in demo-data: it does not exist", "kneeal demo-data")


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["--strategy", "mi_mdc"], ["no strategy called 'mi_mdc'", "did you mean 'mi_mcd'?"]),
        (["--set", "model.widht=3"], ["unknown key model.widht", "did you mean model.width?"]),
        (["--set", "training.batch_size=0"], ["training.batch_size = 0"]),
        (["--config", "papr"], ["no configuration called 'papr'", "did you mean 'paper'?"]),
        (["--set", "active.n_init=500"], ["n_init = 500 for a pool of", "set active.n_init="]),
        (["--set", "active.n_query=500"], ["n_query = 500 for a pool of"]),
        (["--set", "active.budget=4"], ["a budget of 4 labels with a first query of 5"]),
        (["--set", "active.budget=500"], ["budget = 500 for a pool of"]),
        (["--set", "model.dropout=0", "--set", "model.classifier_dropout=0"], ["without dropout", "model.dropout"]),
        (["--strategy", "random", "--ssl"], ["scores no uncertainty", "--no-ssl", "active.pseudo_by"]),
        (["--set", "data.test_site=Z"], ["no test set", "A, B, C, D, E"]),
        (["--set", "active.options.samples=3"], ["option samples", "n_samples=50"]),
        (["--devices", "2", "--set", "training.batch_size=5"], ["a batch of 5 knees for 2 devices"]),
        (["--accelerator", "mps"], ["no mps on this machine", "--accelerator cpu"]),
        (["--accelerator", "gpu"], ["no gpu on this machine", "--accelerator cpu"]),
        (["--set", "compute.precision=16-mixed"], ["16-mixed on a CPU", "bf16-mixed"]),
        (["--init", __file__], ["holds no weights for this branch"]),
        (["--set", "active.budget=lots"], ["active.budget = 'lots'\n", "a whole number of at least 1, or all", "800"]),
        (["--set", "views.gamma=[2,1]"], ["views.gamma = [2, 1]\n", "the first not above the second"]),
        (["--set", "views.gamma=2"], ["views.gamma = 2\n", "expected: a list"]),
        (["--set", "active=3"], ["active = 3\n", "expected: a section"]),
        (["--set", "training.lr=1"], ["unknown key training.lr", "training has ", "learning_rate"]),
        (["--config", "few_label"], ["no configuration called 'few_label'", "kneeal study --config", "few_labels"]),
    ],
)
def test_a_wrong_setting(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], messages: list[str]
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr("kneeal.build.start.count_devices", lambda: {"gpu": 0, "mps": 0})
    refused(kneeal("fit", "--data", data, "--out", run, *TINY, *arguments), *messages)
    assert not list(run.rglob("best.ckpt"))


@pytest.mark.parametrize(
    ("command", "messages"),
    [
        (["fit", "--nope"], ["--nope", "see `kneeal fit -h`; for example `kneeal fit --config frozen"]),
        (["fit", "--seed", "x"], ["--seed", "see `kneeal fit -h`"]),
        (["fit", "--devices"], ["--devices", "see `kneeal -h`"]),
        (["fti"], ["'fti'", "see `kneeal -h`"]),
        (
            ["export"],
            ["Missing argument 'RUN'", "expected: kneeal export", "kneeal export RUN --out model.safetensors"],
        ),
        (["report", "run"], ["Missing option '--out'", "kneeal report runs/few_labels"]),
        (["report", "run", "--out", "new", "--labels", "50,nan"], ["--labels '50,nan'", "whole numbers"]),
        (["pretrain", "--out", "new", "--learning-rate", "-1"], ["--learning-rate", "see `kneeal pretrain -h`"]),
        (["demo-data", "--out", "new", "--knees", "3"], ["--knees", "10", "see `kneeal demo-data -h`"]),
        (["prepare", "foo"], ["'foo'", "see `kneeal prepare -h`"]),
    ],
)
def test_a_wrong_command_line_is_answered_with_usage_and_example(command: list[str], messages: list[str]) -> None:
    refused(kneeal(*command), *messages)


@pytest.mark.parametrize(
    ("module", "command", "name"),
    [
        ("starlette", ["annotate", "run"], "annotate"),
        ("lightly", ["pretrain", "--out", "weights", "--data", "DATA"], "pretrain"),
    ],
)
def test_an_extra_that_is_not_installed_is_said(
    data: Path, tmp_path: Path, module: str, command: list[str], name: str
) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None; sys.argv = ['kneeal', *sys.argv[1:]]\n"
        "from kneeal.cli import main; main()"
    )
    arguments = [str(data) if a == "DATA" else a for a in command]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=tmp_path)
    refused(done, f"{module} is not installed", f"pip install '.[{name}]'")


def test_options_of_a_study_may_stand_before_its_subcommand(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "sweep.yaml"
    done("study", "--config", "table2", "--data", data, "sweep", "--file", target)
    text = target.read_text()
    assert "table2" in text and str(data) in text
    refused(kneeal("study", "--config", "table2", "cell", "--cell", "nothing"), "nothing")


def test_a_family_of_commands_alone_is_answered_with_its_help() -> None:
    alone = kneeal("prepare")
    assert alone.returncode == 2 and "Commands:" in alone.stdout + alone.stderr


def test_a_folder_of_another_kind_is_named_with_what_to_do(data: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    assert kneeal("fit", "--data", data, "--out", run, *TINY).returncode == 0
    for command in (["export", data, "--out", out], ["report", data, "--out", out], ["stopping", data]):
        refused(kneeal(*command), f"no run in {data}: it is a prepared data set", "that `kneeal fit`")
    refused(kneeal("ask", data, "--data", data), f"{data} holds no run: it is a prepared data set")
    refused(kneeal("fit", "--data", run, "--out", out, *TINY), f"no prepared data set in {run}: it is a run")
    pictures = tmp_path / "pictures"
    (pictures / "train" / "2").mkdir(parents=True)
    (pictures / "train" / "2" / "1L.png").touch()
    refused(
        kneeal("fit", "--data", pictures, "--out", out, *TINY),
        "it is a folder of pictures",
        f"`kneeal prepare folder {pictures} --out knees`",
    )
    refused(kneeal("export", run, "--out", out / "model"), f"no folder {out}: it does not exist", f"mkdir -p {out}")
    refused(kneeal("pretrain", "--data", data, "--out", out / "weights"), f"no folder {out}: it does not exist")
    (tmp_path / "file").touch()
    refused(kneeal("report", run, "--out", tmp_path / "file"), f"{tmp_path / 'file'} is a file", "expected: a folder")
    assert not out.exists()


@pytest.mark.parametrize("where", ["module", "constructor", "score"])
def test_an_error_of_a_users_strategy_is_said_once_with_its_place(data: Path, tmp_path: Path, where: str) -> None:
    complaint = "raise UserError('no license', 'a license', 'buy one')"
    body = {"module": "pass", "constructor": f"def __init__(self): {complaint}", "score": "pass"}[where]
    (tmp_path / "mine.py").write_text(
        "from kneeal.acquisition import Posterior, Strategy\nfrom kneeal.errors import UserError\n"
        f"class Mine(Strategy):\n    posterior = Posterior.POINT\n    {body}\n"
        f"    def score(self, predictions): {complaint}\n{complaint if where == 'module' else ''}\n"
    )
    strategy = f"{tmp_path / 'mine.py'}:Mine"
    said = kneeal("fit", "--data", data, "--out", tmp_path / "run", *TINY, "--strategy", strategy)
    refused(said, "mine.py", ": no license\n  expected: a license\n  cure: buy one")


def edit(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    def apply(data: Path) -> None:
        change(pd.read_csv(data / "manifest.csv", dtype=str, keep_default_na=False)).to_csv(
            data / "manifest.csv", index=False
        )

    return apply


def put(column: str, value: str, row: int = 0) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[row, column] = value
        return frame

    return change


def unknown_grade(data: Path) -> None:
    edit(lambda f: f.assign(kl=["" if site == "A" else kl for site, kl in zip(f["site"], f["kl"], strict=True)]))(data)
    renew_checksums(data)


def truncated(data: Path) -> None:
    path = data / "patches.npy"
    path.write_bytes(path.read_bytes()[:-5])


def wrong_shape(data: Path) -> None:
    np.save(data / "patches.npy", np.zeros((120, 128, 128), np.uint8))


def no_manifest(data: Path) -> None:
    (data / "manifest.csv").unlink()


@pytest.mark.parametrize(
    ("damage", "messages"),
    [
        (no_manifest, ["no prepared data set in", "manifest.csv"]),
        (edit(put("kl", "7")), ["kl '7' in line 2"]),
        (edit(put("kl", "2.5")), ["kl '2.5' in line 2"]),
        (edit(put("knee_id", "9000001_L")), ["'9000001_L' in line 4"]),
        (edit(lambda f: f.assign(split=["train", "test"] * 60)), ["patients in two splits"]),
        (edit(lambda f: f.drop(columns="kl")), ["without the column kl"]),
        (truncated, ["patches.npy"]),
        (wrong_shape, ["patches.npy holds uint8 (120, 128, 128)"]),
        (unknown_grade, ["no grade for 24 queried knees: 9000000_L", "fill the column kl"]),
    ],
)
def test_a_damaged_data_set(data: Path, tmp_path: Path, damage: Callable[[Path], None], messages: list[str]) -> None:
    damage(data)
    refused(kneeal("fit", "--data", data, "--out", tmp_path / "run", *TINY), *messages)
    assert not (tmp_path / "run").exists()


def test_a_grade_that_no_validation_knee_has(tmp_path: Path) -> None:
    frame = table(60)
    frame["kl"] = ["0", "1"] * 60
    frame.loc[0, "kl"] = "4"
    write_prepared(tmp_path / "data", frame, pairs(120), source="test", options={})
    refused(
        kneeal("fit", "--data", tmp_path / "data", "--out", tmp_path / "run", *TINY), "no validation knee of grade 4"
    )


def test_no_data_at_all(tmp_path: Path) -> None:
    refused(kneeal("fit", "--out", tmp_path / "run"), "no data set", "kneeal demo-data --out demo-data")


def test_a_file_in_place_of_a_data_set_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(kneeal("prepare", "checksum", tmp_path / "file"), "no prepared data set", "kneeal prepare")


def test_predict_refuses_radiographs_that_it_would_not_use(tmp_path: Path) -> None:
    command = ("predict", "model.safetensors", "--data", tmp_path, "--out", tmp_path / "out", "--images", tmp_path)
    refused(kneeal(*command), "without --dicom", "add --dicom")


def test_a_file_of_weights_that_is_missing_is_named(data: Path, tmp_path: Path) -> None:
    for name in ("gone.ckpt", "gone.safetensors"):
        result = kneeal("fit", "--data", data, "--out", tmp_path / "run", "--init", name, *TINY)
        refused(result, f"training.init = {name}", "there is no file", "check --init")
        assert "Errno" not in result.stderr


def test_what_is_there_is_not_written_over(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    refused(kneeal("fit", "--data", data, "--out", tmp_path / "mine", *TINY), "holds no run: it is another folder")
    refused(kneeal("fit", "--data", data, "--out", tmp_path / "mine", "--set", "active.budget=900"), "holds no run")
    refused(kneeal("demo-data", "--out", tmp_path / "mine", "--knees", "20"), "already exists")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_run_that_was_refused_leaves_its_folder_free(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    refused(kneeal("fit", "--data", data, "--out", run, *TINY, "--set", "active.budget=500"), "budget = 500")
    done = kneeal("fit", "--data", data, "--out", run, *TINY)
    assert done.returncode == 0, done.stderr
    assert "budget: 500" not in (run / "config.yaml").read_text()


def test_a_folder_that_cannot_be_written(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(kneeal("fit", "--data", data, "--out", tmp_path / "file" / "run", *TINY), "cannot write")
    refused(kneeal("demo-data", "--out", tmp_path / "file" / "data", "--knees", "20"), "cannot write")


def test_a_full_disk_loses_nothing_and_resumes(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["fit", "--data", str(data), "--out", str(run), *TINY]
    # A limit on the size of a file stands for the full disk: the checkpoint does not fit.
    limited = (
        "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)); sys.argv[0] = 'kneeal'\n"
        "runpy.run_module('kneeal', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", limited, *arguments], capture_output=True, text=True, check=False)
    refused(done, "cannot write", "--resume")
    assert json.loads((run / "start" / "answers.json").read_text())
    resumed = kneeal(*arguments, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert len(pd.read_csv(run / "rounds.csv")) == 2


def test_an_internal_error_keeps_its_traceback(data: Path, tmp_path: Path) -> None:
    code = (
        "import sys, kneeal.jobs.fit\n"
        "def broken(*a, **k): raise RuntimeError('a bug')\n"
        "kneeal.jobs.fit.run_fit = broken\n"
        "from kneeal.cli import main; sys.argv = ['kneeal', 'fit']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "a bug" in done.stderr


def test_prepare_folder_prints_counts(tmp_path: Path) -> None:
    for patient in (1, 2):
        for side in "LR":
            path = tmp_path / "src" / ("train" if patient == 1 else "val") / "2" / f"{patient}{side}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.tile(np.arange(224, dtype=np.uint8), (224, 1)))
    done = kneeal("prepare", "folder", tmp_path / "src", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "val is the test set" in done.stdout
    again = kneeal("prepare", "folder", tmp_path / "src", "--out", tmp_path / "out")
    refused(again, "already exists")
