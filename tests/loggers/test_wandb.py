from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.wandb_file import read_finished

from kneeal.loggers.wandb import WandbTracker, has_key
from kneeal.loop.events import RoundReport

CONFIG = {
    "active.strategy": "mi_mcd", "seed": 4, "data.dir": "/archive/of/patients",
    "active.pseudo_by": "/archive/of/patients/own.py:Mine",
    "active.constraints": [{"name": "exclude", "by": "patient_id", "values": ["p1_L"]}],
}  # fmt: skip


def report(number: int) -> RoundReport:
    query = ("p1_L", "p2_R") if number < 2 else ()
    return RoundReport(
        round=number,
        n_labeled=50 * (number + 1),
        n_graded=50 * (number + 1) + 20,
        n_pseudo=50 * number,
        metrics={"val_balanced_accuracy": 0.3, "test_balanced_accuracy": 0.25 + number / 100, "test_recall_0": 0.5},
        confusion=[[k] * 5 for k in range(5)],
        uncertainty=[0.1, 0.5, 1.5],
        query=query,
        scores=dict.fromkeys(query, 0.75),
        answers=dict(zip(query, (3, 1), strict=False)),
        seconds={"fit": 1.0, "test": 0.5, "predict": 2.0, "select": 0.1},
        n_rounds=3,
        n_pool=100,
    )


def tracker(path: Path, mode: Any = "offline", *, knees: bool = False) -> WandbTracker:
    return WandbTracker(
        path,
        mode=mode,
        project="kneeal",
        entity=None,
        group="mi_mcd-cr",
        run_id="abc123",
        thumbnail=lambda knee: np.full((8, 16), 100, np.uint8),
        knees=knees,
    )


def history(path: Path, segment: str = "offline-run-*") -> list[dict[str, Any]]:
    rows = []
    for file in sorted(path.glob(f"wandb/{segment}/*.wandb")):
        for record in read_finished(file):
            if record.HasField("history"):
                items = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
                rows.append(items)
    return rows


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    track = tracker(tmp_path, mode="auto")
    track.run_started(CONFIG, [])
    track.round_started(0, 50, 100, 3)
    for number in range(3):
        track.round_finished(report(number))
    track.run_ended(None)
    return tmp_path


def test_an_offline_file_holds_every_round_with_its_metrics_on_the_right_axis(logged: Path) -> None:
    rows = history(logged)
    assert [row["al/n_labeled"] for row in rows] == [50, 100, 150]
    assert [row["test/balanced_accuracy"] for row in rows] == [0.25, 0.26, 0.27]
    assert rows[0]["test/recall_0"] == 0.5
    assert [row.get("al/queried_grade_3") for row in rows] == [1, 1, None]
    assert rows[0]["test/uncertainty/_type"] == "histogram"
    assert sum(rows[0]["test/uncertainty/values"]) == 3


def test_the_axis_and_the_run_are_defined(logged: Path) -> None:
    (file,) = logged.glob("wandb/offline-run-*/*.wandb")
    records = read_finished(file)
    metrics = {r.metric.glob_name: r.metric.step_metric for r in records if r.HasField("metric") and r.metric.glob_name}
    assert metrics == dict.fromkeys(("al/*", "val/*", "test/*"), "al/n_labeled")
    (run,) = [r.run for r in records if r.HasField("run")]
    assert (run.run_id, run.project, run.run_group, run.job_type) == ("abc123", "kneeal", "mi_mcd-cr", "fit")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["active.strategy"] == "mi_mcd"


def test_no_knee_and_no_path_leaves_the_machine_unasked(logged: Path) -> None:
    assert len(history(logged)) == 3  # once W&B has written all of it
    files = [path for path in logged.glob("wandb/offline-run-*/**/*") if path.is_file()]
    content = b"".join(path.read_bytes() for path in files)
    assert b"al/queried_grade_3" in content and b"own.py:Mine" in content
    for private in (b"p1_L", b"p2_R", b"/archive/of/patients"):
        assert private not in content
    assert not [path for path in files if path.suffix == ".png"]


def test_the_query_table_holds_knees_with_pictures_scores_and_grades_where_asked_for(tmp_path: Path) -> None:
    track = tracker(tmp_path, knees=True)
    track.run_started(CONFIG, [])
    for number in range(3):
        track.round_finished(report(number))
    track.run_ended(None)
    logged = tmp_path
    (media,) = logged.glob("wandb/offline-run-*/files/media")
    tables = [json.loads(path.read_text()) for path in sorted(media.glob("table/al/query_*.table.json"))]
    assert len(tables) == 2
    assert tables[0]["columns"] == ["knee_id", "knee", "score", "kl"]
    assert [(row[0], row[2], row[3]) for row in tables[0]["data"]] == [("p1_L", 0.75, 3), ("p2_R", 0.75, 1)]
    first = history(logged)[0]
    assert first["al/query_knees/captions"] == ["p1_L  score 0.750  KL 3", "p2_R  score 0.750  KL 1"]
    assert first["al/query_knees/count"] == 2
    assert all((media.parent / name).is_file() for name in first["al/query_knees/filenames"])


def test_the_last_offline_segment_holds_every_round(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = tracker(tmp_path)
    first.run_started(CONFIG, [])
    first.round_finished(report(0))
    first.run_ended(RuntimeError("killed"))
    time.sleep(1.1)  # W&B names segments by the second
    capsys.readouterr()
    second = tracker(tmp_path)
    second.run_started(CONFIG, [report(0), report(1)])
    second.round_finished(report(2))
    second.run_ended(None)
    segments = sorted(tmp_path.glob("wandb/offline-run-*"))
    assert [len(history(tmp_path, segment.name)) for segment in segments] == [1, 3]
    assert f"wandb sync {segments[-1]}" in capsys.readouterr().err


class FakeRun:
    """What W&B gives for a run that it knows."""

    offline = disabled = False
    url = "https://wandb.example/run"

    def __init__(self, last: int | None) -> None:
        self.summary = {} if last is None else {"al/round": last}
        self.rows: list[dict[str, Any]] = []

    def define_metric(self, *_: Any, **__: Any) -> None: ...

    def log(self, row: dict[str, Any]) -> None:
        if row["al/round"] == 3:
            raise ConnectionError("the server is away")
        self.rows.append(row)

    def finish(self, **_: Any) -> None:
        raise AssertionError("what failed is left alone")


def test_a_run_that_goes_on_online_logs_what_the_dashboard_lacks_and_survives_its_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = FakeRun(last=0)
    monkeypatch.setattr("wandb.init", lambda **_: run)
    track = tracker(tmp_path, mode="online")
    track.run_started(CONFIG, [report(0), report(1)])
    track.round_finished(report(2))
    track.round_finished(report(3))
    track.round_finished(report(4))
    track.run_ended(None)
    assert [row["al/round"] for row in run.rows] == [1, 2]
    said = capsys.readouterr().err
    assert run.url in said and "the server is away" in said and "the run continues" in said


def test_a_library_that_fails_to_start_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> None:
        raise OSError("no service")

    monkeypatch.setattr("wandb.init", broken)
    track = tracker(tmp_path)
    track.run_started(CONFIG, [])
    track.round_finished(report(0))
    track.run_ended(None)


@pytest.mark.parametrize(
    ("variable", "expected"), [("offline", "offline"), ("dryrun", "offline"), ("disabled", "disabled")]
)
def test_auto_follows_the_variable_of_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, expected: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", variable)
    assert tracker(tmp_path, "auto")._mode() == expected
    assert tracker(tmp_path, "online")._mode() == "online", "what is set for the run counts first"


@pytest.mark.parametrize(
    ("url", "machine", "known"),
    [
        ("https://api.forge.coreweave.com", "api.forge.coreweave.com", True),
        ("https://api.forge.coreweave.com", "api.wandb.ai", True),
        ("https://api.wandb.ai", "api.forge.coreweave.com", True),
        ("http://wandb.hospital:8080", "wandb.hospital:8080", True),
        ("http://wandb.hospital:8080", "wandb.hospital", True),
        ("http://wandb.hospital:8080", "api.wandb.ai", False),
    ],
)
def test_a_login_is_recognized_whichever_host_it_is_written_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, machine: str, known: bool
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("kneeal.loggers.wandb.base_url", lambda: url)
    assert not has_key()
    (tmp_path / "netrc").write_text(f"machine {machine}\n login user\n password {'0' * 40}\n")
    assert has_key() is known


def test_a_key_without_a_network_logs_offline_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("kneeal.loggers.wandb.base_url", lambda: "http://127.0.0.1:9")
    monkeypatch.setattr("kneeal.loggers.wandb.getproxies", dict)
    assert has_key() and tracker(tmp_path, "auto")._mode() == "offline"


def test_nothing_is_asked_without_a_key(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path; from test_wandb import tracker, report, CONFIG\n"
        "track = tracker(Path(sys.argv[1]), 'auto'); track.run_started(CONFIG, []); track.round_finished(report(0))\n"
        "track.run_ended(None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent), str(Path(__file__).parents[1])],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={"PATH": "", "HOME": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(history(tmp_path)) == 1
    assert "api key" not in (done.stdout + done.stderr).lower()
