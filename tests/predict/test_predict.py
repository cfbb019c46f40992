"""From a run to a model file to predictions, on the real command line and by parts."""

from __future__ import annotations

import csv
import errno
import json
import pickle
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from helpers.commands import QUICK, done, kneeal, refused
from helpers.knees import pairs, table
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from kneeal.data.prepared import write_prepared
from kneeal.errors import UserError
from kneeal.exchange.model_file import Card, Threshold, read_model, write_model
from kneeal.nn.freezing import FrozenEncoder
from kneeal.predict.dicom import read_reference, structured_report
from kneeal.predict.predicting import Grading, choose_threshold, open_model

LARGER = ("--set", "model.width=2", "--set", "data.patch_size=16", "--set", "training.epochs=3")


def dataset(path: Path, source: str = "test", px: int = 16, **options: Any) -> Path:
    patches = np.random.default_rng(0).integers(0, 256, (40, 2, px, px), np.uint8)
    write_prepared(path, table(20), patches, source=source, options=options, patch_px=px)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, a finished run and its model."""
    folder = tmp_path_factory.mktemp("predict")
    dataset(folder / "data", roi_mm=101.0, seed=3)
    done("fit", "--data", folder / "data", "--out", folder / "run", "--strategy", "mi_mcd", *QUICK, *LARGER)
    said = done("export", folder / "run", "--out", folder / "m.safetensors", "--samples", "4", "--flag-share", "0.25")
    assert "trained on 14 knees" in said and "not flagged" in said
    return folder


def test_the_model_predicts_as_the_run_did(place: Path, tmp_path: Path) -> None:
    done("predict", place / "m.safetensors", "--data", place / "data", "--out", tmp_path)
    rows = {row["knee_id"]: row for row in csv.DictReader((tmp_path / "predictions.csv").open())}
    assert len(rows) == 40
    last = sorted((place / "run/rounds").glob("*/test_predictions.csv"))[-1]
    for row in csv.DictReader(last.open()):
        for grade in range(5):
            assert float(rows[row["knee_id"]][f"p{grade}"]) == pytest.approx(float(row[f"p{grade}"]), abs=1e-4)
    threshold = read_model(place / "m.safetensors")[1].threshold.uncertainty
    for row in rows.values():
        probs = [float(row[f"p{grade}"]) for grade in range(5)]
        assert probs[int(row["kl"])] == pytest.approx(max(probs), abs=1e-5) and sum(probs) == pytest.approx(1, abs=1e-4)
        assert float(row["total"]) >= float(row["epistemic"]) >= 0
        assert row["flag"] == str(int(float(row["total"]) > threshold)) or abs(float(row["total"]) - threshold) < 1e-5


@pytest.mark.parametrize("method", ["ensemble", "snapshot", "mcd_ensemble", "tta"])
def test_the_file_holds_what_its_card_measures(place: Path, tmp_path: Path, method: str) -> None:
    run, model = tmp_path / "run", tmp_path / "m"
    posterior = ("--set", f"posterior.method={method}", "--set", "posterior.members=2")
    done("fit", "--data", place / "data", "--out", run, "--strategy", "mi_mcd", *QUICK, *LARGER, *posterior)
    said = done("export", run, "--out", model, "--samples", "4")
    card = read_model(model)[1]
    assert card.members == (1 if method == "tta" else 2) and ("2 networks" in said) == (card.members == 2)
    assert card.n_samples == (0 if method in ("ensemble", "snapshot") else 4)
    done("predict", model, "--data", place / "data", "--out", tmp_path)
    rows = {row["knee_id"]: row for row in csv.DictReader((tmp_path / "predictions.csv").open())}
    measured = list(csv.DictReader(sorted(run.glob("rounds/*/test_predictions.csv"))[-1].open()))
    if method != "tta":  # whose views are no part of a file
        for row in measured:
            own = [float(rows[row["knee_id"]][f"p{grade}"]) for grade in range(5)]
            assert own == pytest.approx([float(row[f"p{grade}"]) for grade in range(5)], abs=1e-4)
    mae = np.mean([abs(int(rows[row["knee_id"]]["kl"]) - int(row["kl"])) for row in measured])
    assert card.test["mae"] == pytest.approx(mae)
    if method == "ensemble":
        assert any(float(row["epistemic"]) > 1e-5 for row in rows.values())


def test_a_frozen_part_computes_nothing_again(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, run, encoded = tmp_path / "data", tmp_path / "run", [0]
    compute = FrozenEncoder.__call__

    def counting(encoder: FrozenEncoder, patches: torch.Tensor) -> torch.Tensor:
        encoded[0] += len(patches)
        return compute(encoder, patches)

    monkeypatch.setattr(FrozenEncoder, "__call__", counting)
    shutil.copytree(place / "data", data)
    frozen = ("--no-ssl", "--set", "model.freeze=all", "--set", "views.kept=0", "--set", "active.options={}")
    done("fit", "--data", data, "--out", run, "--strategy", "entropy", *QUICK, *LARGER, *frozen)
    encoded[0] = 0
    done("export", run, "--out", tmp_path / "m", "--samples", "4")
    done("predict", tmp_path / "m", "--data", data, "--out", tmp_path / "kept")
    assert encoded[0] == 2  # a knee by each command, for the shape of the activations
    shutil.rmtree(data / "activations")
    done("predict", tmp_path / "m", "--data", data, "--out", tmp_path / "again")
    assert encoded[0] > 40
    kept = (tmp_path / "kept/predictions.csv").read_text()
    assert (tmp_path / "again/predictions.csv").read_text() == kept
    rows = {row["knee_id"]: row for row in csv.DictReader(kept.splitlines())}
    for row in csv.DictReader(sorted(run.glob("rounds/*/test_predictions.csv"))[-1].open()):
        own = [float(rows[row["knee_id"]][f"p{grade}"]) for grade in range(5)]
        assert own == pytest.approx([float(row[f"p{grade}"]) for grade in range(5)], rel=1e-5)


def test_a_network_without_dropout_is_exported(place: Path, tmp_path: Path) -> None:
    bare = ("--set", "model.dropout=0", "--set", "model.classifier_dropout=0", "--set", "active.options={}")
    done("fit", "--data", place / "data", "--out", tmp_path / "run", "--strategy", "entropy", *QUICK, *LARGER, *bare)
    assert "no dropout" in done("export", tmp_path / "run", "--out", tmp_path / "m")
    done("predict", tmp_path / "m", "--data", place / "data", "--out", tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out/predictions.csv").open()))
    assert all(float(row["epistemic"]) == 0 and 0 < float(row["total"]) <= np.log(5) + 1e-6 for row in rows)


def test_the_card_says_what_the_model_is(place: Path) -> None:
    card = read_model(place / "m.safetensors")[1]
    assert card.trained_on["knees"] == sum(card.trained_on["grades"].values()) == 14
    assert card.preparation == {"source": "test", "patch_px": 16, "roi_mm": 101.0}
    assert card.run["strategy"] == "mi_mcd" and "balanced_accuracy" in card.test
    assert "9000" not in json.dumps(asdict(card))  # no patient


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"roi_mm": 140.0}, "roi_mm (140.0 here, 101.0 for the model)"),
        ({"roi_mm": 101.0, "source": "dicom"}, "source ('dicom' here, 'test' for the model)"),
        ({"roi_mm": 101.0, "px": 24}, "patch_px (24 here, 16 for the model)"),
        ({}, "roi_mm (None here, 101.0 for the model)"),
    ],
)
def test_data_prepared_differently_are_refused(
    place: Path, tmp_path: Path, other: dict[str, Any], message: str
) -> None:
    data = dataset(tmp_path / "data", **other)
    refused(kneeal("predict", place / "m.safetensors", "--data", data, "--out", tmp_path / "out"), message)
    assert not (tmp_path / "out").exists()
    done("predict", place / "m.safetensors", "--data", data, "--out", tmp_path / "out", "--allow-preparation")


def test_another_choice_of_knees_is_no_other_preparation(place: Path, tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", roi_mm=101.0, seed=9, test_split="val")
    done("predict", place / "m.safetensors", "--data", data, "--out", tmp_path / "out")


def test_what_is_no_model(place: Path, tmp_path: Path) -> None:
    def attempt(content: bytes, *messages: str) -> None:
        (tmp_path / "m").write_bytes(content)
        refused(kneeal("predict", tmp_path / "m", "--data", place / "data", "--out", tmp_path / "out"), *messages)

    whole = (place / "m.safetensors").read_bytes()
    attempt(b"", "cannot be read (")
    attempt(whole[: len(whole) // 2], "cannot be read (")
    attempt(pickle.dumps({"a": 1}), "cannot be read (")
    (tmp_path / "m").unlink()
    refused(kneeal("predict", tmp_path / "m", "--data", place / "data", "--out", tmp_path), "cannot be read (")
    weights, card = read_model(place / "m.safetensors")
    write_model(tmp_path / "wide", weights, replace(card, network={**card.network, "width": 3}))
    with pytest.raises(UserError, match="do not fit its card"):
        open_model(tmp_path / "wide")
    write_model(tmp_path / "four", weights, replace(card, network={**card.network, "n_grades": 4}))
    with pytest.raises(UserError, match="is a model of 4 grades"):
        open_model(tmp_path / "four")


def test_a_model_is_not_written_over(place: Path) -> None:
    refused(kneeal("export", place / "run", "--out", place / "m.safetensors"), "already exists")


def test_a_run_that_cannot_be_written_is_exported(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(path: Path, content: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr("kneeal.loop.writer.write_atomic", read_only)
    done("export", place / "run", "--out", tmp_path / "m", "--samples", "2")


def test_what_cannot_be_written_is_said_before_the_work_for_it(place: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    inside = tmp_path / "file" / "in"
    refused(kneeal("export", place / "run", "--out", inside), "cannot write", "is a file")
    refused(kneeal("export", place / "run", "--out", inside / "deeper"), "cannot write", "is a file")
    refused(kneeal("predict", place / "m.safetensors", "--data", place / "data", "--out", inside), "cannot write")
    result = kneeal("pretrain", "--data", place / "data", "--out", inside, *QUICK[:-2])
    refused(result, "cannot write")
    assert "epoch 1/" not in result.stderr


def test_without_validation_knees_no_accuracy_is_claimed(place: Path, tmp_path: Path) -> None:
    none = ("--set", "data.validation=none", "--set", "active.budget=6")
    done(
        "fit",
        "--strategy",
        "random",
        "--data",
        place / "data",
        "--out",
        tmp_path / "run",
        *QUICK[:8],
        *QUICK[10:],
        *none,
    )
    said = done("export", tmp_path / "run", "--out", tmp_path / "m.safetensors", "--samples", "2")
    assert "no validation knees, so the accuracy is unknown" in said
    assert "nan" not in said


def test_a_run_without_a_fit(place: Path, tmp_path: Path) -> None:
    done("ask", tmp_path / "run", "--data", place / "data", "--strategy", "mi_mcd", *QUICK)
    refused(kneeal("export", tmp_path / "run", "--out", tmp_path / "m"), "no finished fit")


def test_an_unknown_knee(place: Path, tmp_path: Path) -> None:
    command = ("predict", place / "m.safetensors", "--data", place / "data", "--out", tmp_path)
    refused(kneeal(*command, "--knee", "x"), "no knee x")


def test_a_knee_that_is_named_twice_is_predicted_once(place: Path, tmp_path: Path) -> None:
    command = ("predict", place / "m.safetensors", "--data", place / "data", "--out", tmp_path)
    assert "1 knee" in done(*command, "--knee", "9000000_L", "--knee", "9000000_L").splitlines()[0]


def test_the_threshold_in_closed_form() -> None:
    probs = torch.eye(5)[[0, 1, 2, 3, 4, 0, 1, 2, 3, 4]]
    kl = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 0, 0])  # the last two are wrong, and the most uncertain
    flag = choose_threshold(probs, torch.arange(10) / 10, kl, flag_share=0.2)
    assert flag.uncertainty == pytest.approx(0.7)
    assert (flag.share, flag.accuracy_all, flag.accuracy_left, flag.balanced_left) == pytest.approx((0.2, 0.8, 1, 1))
    none = choose_threshold(probs, torch.arange(10) / 10, kl, flag_share=0)
    assert none.share == 0 and none.accuracy_left == none.accuracy_all
    ties = choose_threshold(probs, torch.zeros(10), kl, flag_share=0.5)
    assert ties.share == 0  # equal knees are treated alike
    with pytest.raises(UserError, match="--flag-share"):
        choose_threshold(probs, torch.zeros(10), kl, flag_share=1)


def test_a_card_survives_the_file(tmp_path: Path) -> None:
    card = Card("0", {}, 8, {}, {}, {}, {}, Threshold(1, 0.2, 0.5, 0.6, 0.6, 9), 4)
    write_model(tmp_path / "m", {"w": torch.arange(3.0)}, card)
    weights, again = read_model(tmp_path / "m")
    assert again == card and torch.equal(weights["w"], torch.arange(3.0))


def radiograph(path: Path) -> None:
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "p1", "Anon", "", ""
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "", "", "", "", ""
    ds.Modality, ds.Rows, ds.Columns, ds.SamplesPerPixel = "DX", 64, 64, 1
    ds.PhotometricInterpretation, ds.BitsAllocated, ds.BitsStored, ds.HighBit = "MONOCHROME2", 16, 12, 11
    ds.PixelRepresentation = 0
    ds.PixelData = np.arange(64 * 64, dtype=np.uint16).tobytes()
    ds.save_as(path, enforce_file_format=True)


def test_dicom(place: Path, tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom", reason="DICOM objects need the extra kneeal[dicom]")
    rows = table(1)
    rows["path"] = ["a.dcm", ""]
    (tmp_path / "images").mkdir()
    radiograph(tmp_path / "images/a.dcm")
    write_prepared(tmp_path / "data", rows, pairs(2, 16), source="test", options={"roi_mm": 101.0}, patch_px=16)
    result = kneeal(
        "predict", place / "m.safetensors", "--data", tmp_path / "data", "--out", tmp_path / "out", "--dicom",
        "--images", tmp_path / "images",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "wrote 1 structured report and 1 secondary capture" in result.stdout
    assert "Anon" not in result.stdout + result.stderr  # no warning shows a patient's name
    report, capture = (pydicom.dcmread(path) for path in sorted((tmp_path / "out/dicom").glob("*.dcm")))
    first = next(csv.DictReader((tmp_path / "out/predictions.csv").open()))
    source = pydicom.dcmread(tmp_path / "images/a.dcm")
    assert report.Modality == "SR" and report.StudyInstanceUID == source.StudyInstanceUID
    text = str(report)
    assert f"Kellgren-Lawrence grade {first['kl']}" in text and str(source.SOPInstanceUID) in text
    assert "Left" in text and "Epistemic uncertainty" in text
    groups = highdicom.sr.srread(tmp_path / "out/dicom/00001.dcm").content.get_image_measurement_groups()
    assert len(groups) == 1
    measured = {m.name.value: m.value for m in groups[0].get_measurements()}
    columns = {**{f"P{g}": f"p{g}" for g in range(5)}, "UT": "total", "UE": "epistemic"}
    # The table has six significant digits.
    assert measured == pytest.approx({code: float(first[name]) for code, name in columns.items()}, rel=5e-6, abs=1e-6)
    said_of_it = {q.name.value: q.value.value for q in groups[0].get_qualitative_evaluations()}
    assert said_of_it == {"KL": f"KL{first['kl']}", "FLAG": f"FLAG{first['flag']}"}
    assert report.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99KNEEAL"
    assert report.VerificationFlag == "UNVERIFIED" and report.PatientName == source.PatientName
    assert capture.Modality == "OT" and capture.pixel_array.shape[1] >= 512 and capture.PatientID == "9000000"
    accepted_by_others(tmp_path / "out/dicom", f"Kellgren-Lawrence grade {first['kl']}")


def accepted_by_others(folder: Path, grade: str) -> None:
    """What dcmtk reads of the report, and what dicom3tools holds against either object, where they are installed."""
    report, capture = sorted(folder.glob("*.dcm"))
    if program := shutil.which("dsrdump"):
        read = subprocess.run([program, report], capture_output=True, text=True, check=False)
        assert read.returncode == 0 and grade in read.stdout
        assert not [line for line in read.stderr.splitlines() if line.startswith(("E:", "W:"))], read.stderr
    if program := shutil.which("dciodvfy"):
        for path in (report, capture):
            said = subprocess.run([program, path], capture_output=True, text=True, check=False).stderr
            assert not [line for line in said.splitlines() if line.startswith("Error")], said


def test_dicom_objects_are_written_all_or_none(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("highdicom", reason="DICOM objects need the extra kneeal[dicom]")
    out, save, count = tmp_path / "out", pydicom.Dataset.save_as, 0
    command = ("predict", place / "m.safetensors", "--data", place / "data", "--out", out, "--dicom")

    def full(self: pydicom.Dataset, path: Path, **options: Any) -> None:
        nonlocal count
        count += 1
        save(self, path, **options)
        if count > 3:  # as pydicom says it
            cause = OSError(errno.ENOSPC, "No space left on device")
            raise OSError(f"With tag (7FE0,0010) got exception: {cause}") from cause

    with monkeypatch.context() as patch:
        patch.setattr(pydicom.Dataset, "save_as", full)
        refused(kneeal(*command), "cannot write", "No space left")
    assert [path.name for path in out.iterdir()] == ["predictions.csv"]
    done(*command)
    refused(kneeal(*command, "--knee", "9000000_L"), "dicom already exists")


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_a_film_that_names_no_study_cannot_be_referred_to(tmp_path: Path, name: str) -> None:
    pytest.importorskip("highdicom", reason="DICOM objects need the extra kneeal[dicom]")
    radiograph(tmp_path / "a.dcm")
    image = pydicom.dcmread(tmp_path / "a.dcm")
    delattr(image, name)
    image.save_as(tmp_path / "b.dcm")
    assert read_reference(tmp_path / "a.dcm") is not None and read_reference(tmp_path / "b.dcm") is None
    (tmp_path / "c.dcm").write_bytes(b"not DICOM")
    with pytest.raises(UserError, match="cannot be read"):
        read_reference(tmp_path / "c.dcm")


def test_a_report_of_an_anonymous_film(tmp_path: Path) -> None:
    """Without name, birth date and the like, as anonymous radiographs often are."""
    pytest.importorskip("highdicom", reason="DICOM objects need the extra kneeal[dicom]")
    radiograph(tmp_path / "a.dcm")
    image = pydicom.dcmread(tmp_path / "a.dcm")
    for name in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
                 "AccessionNumber", "ReferringPhysicianName"):  # fmt: skip
        delattr(image, name)
    image.save_as(tmp_path / "a.dcm")
    card = Card("0", {}, 8, {}, {}, {}, {}, Threshold(1.0, 0.2, 0.5, 0.6, 0.6, 9), 4)
    grading = Grading(("a_L",), torch.eye(5)[[3]], torch.tensor([1.5]), torch.tensor([0.5]))
    report = structured_report(read_reference(tmp_path / "a.dcm"), "L", grading, 0, card)
    report.save_as(tmp_path / "r.dcm", enforce_file_format=True)
    report = pydicom.dcmread(tmp_path / "r.dcm")
    assert report.StudyInstanceUID == image.StudyInstanceUID and report.PatientID in ("", None)
    assert "Kellgren-Lawrence grade 3" in str(report)
