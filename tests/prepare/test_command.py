"""The command line on a small archive, and a run on what it made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from helpers.archive import radiograph_header, write_test_archive
from helpers.commands import done, refused
from helpers.commands import kneeal as here

from kneeal.data.prepared import PreparedDataset
from tools.radiographs import RadiographOptions, draw_radiograph


def kneeal(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kneeal", *map(str, arguments)],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
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


def radiographs(root: Path, names: dict[str, str]) -> None:
    """Radiographs by path, each of the patient that its header names."""
    radiograph = draw_radiograph(0, 31, RadiographOptions(mm_per_px=0.6))
    for name, patient in names.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        radiograph_header(radiograph.gray, radiograph.mm_per_px, patient=patient).save_as(
            root / name, enforce_file_format=True
        )


def test_prepare_most(tmp_path: Path) -> None:
    patients = ["MB00001", "MI00002", "MB00003"]
    radiographs(tmp_path / "most", {f"{p}_x/V0AB/1/PA10/f.dcm": "other" for p in patients})
    (tmp_path / "most" / "mostv01235xray.csv").write_text(
        "MOSTID,V0XRKL,V0XLKL\nMB00001,2,4\nMI00002,8,0\nMB00003,1,1\n"
    )
    (tmp_path / "most" / "mostv0enroll.csv").write_text("MOSTID\nMB00001\nMI00002\nMB00003\n")
    said = done("prepare", "most", tmp_path / "most", "--out", tmp_path / "knees", "--markers", "ignore",
                "--workers", "0")  # fmt: skip
    assert "5 knees from 3 radiographs" in said and "no_grade 1" in said
    frame = PreparedDataset.open(tmp_path / "knees", verify=True).manifest.frame
    assert list(frame["knee_id"] + ":" + frame["kl"] + ":" + frame["site"]) == [
        "MB00001_R:2:B", "MB00001_L:4:B", "MB00003_R:1:B", "MB00003_L:1:B", "MI00002_L:0:I",
    ]  # fmt: skip


def test_prepare_dicom_with_a_table_of_other_columns(tmp_path: Path) -> None:
    radiographs(tmp_path / "radiographs", {"a/1": "x1", "b/2": "x2", "c": "x9"})
    table = tmp_path / "g.csv"
    table.write_text("id;knee;kl;hospital\nx1;left;3;Ost\nx1;right;0;Ost\nx2;2;4;West\n")
    out = tmp_path / "knees"
    said = done("prepare", "dicom", tmp_path / "radiographs", "--out", out, "--table", table, "--patient-column", "id",
                "--side-column", "knee", "--grade-column", "kl", "--site-column", "hospital", "--markers", "ignore",
                "--workers", "0")  # fmt: skip
    assert "3 knees from 2 radiographs" in said
    frame = PreparedDataset.open(out, verify=True).manifest.frame
    assert list(frame["knee_id"] + ":" + frame["kl"] + ":" + frame["site"]) == [
        "x1_R:0:Ost", "x1_L:3:Ost", "x2_L:4:West",
    ]  # fmt: skip
    refused(here("prepare", "dicom", tmp_path / "radiographs", "--out", out), "knees")
    refused(here("prepare", "dicom", tmp_path / "radiographs", "--out", tmp_path / "o", "--table", table), "patient")
    refused(
        here("prepare", "dicom", tmp_path / "radiographs", "--out", tmp_path / "o", "--markers", "some"), "--markers"
    )


def test_the_command_needs_no_networks_before_its_workers_do() -> None:
    code = "import sys, kneeal.prepare.pipeline, kneeal.prepare.oai; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_mistakes_are_one_message(tmp_path: Path) -> None:
    done = kneeal("prepare", "oai", tmp_path / "none", "--out", tmp_path / "out")
    assert done.returncode == 2 and "no folder" in done.stderr and "Traceback" not in done.stderr
