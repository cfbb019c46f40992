"""Hospital radiographs of one knee each, by the command line; and what is written where nothing can be used."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from helpers.archive import radiograph_header
from helpers.commands import done, kneeal, refused

from kneeal.data.prepared import PreparedDataset
from tools.radiographs import RadiographOptions, draw_radiograph

LOOK = RadiographOptions(mm_per_px=0.5, texts=0, marker="missing", max_rotation_deg=5, max_shift_mm=5)
BOTH = draw_radiograph(3, 3, LOOK)
HALF = BOTH.gray.shape[1] // 2
RIGHT, LEFT = BOTH.gray[:, :HALF], BOTH.gray[:, HALF:]


def write(path: Path, gray: np.ndarray, patient: str, **tags: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = radiograph_header(np.ascontiguousarray(gray), 0.5, patient=patient)
    for name, value in tags.items():
        setattr(header, name, value)
    header.save_as(path, enforce_file_format=True)


def rows(out: Path) -> dict[str, tuple[str, str]]:
    frame = PreparedDataset.open(out, verify=True).manifest.frame
    return {knee: (path, kl) for knee, path, kl in zip(frame["knee_id"], frame["path"], frame["kl"], strict=True)}


def reasons(out: Path) -> list[tuple[str, str]]:
    with (out / "rejected.csv").open(encoding="utf-8") as file:
        return sorted((row["path"], row["reason"]) for row in csv.DictReader(file))


def test_two_radiographs_of_a_patient_are_two_knees_by_their_headers(tmp_path: Path) -> None:
    write(tmp_path / "in/1", RIGHT, "a", ImageLaterality="R")
    write(tmp_path / "in/2", LEFT, "a", Laterality="L")
    write(tmp_path / "in/3", RIGHT, "b")
    table = tmp_path / "t.csv"
    table.write_text("patient,KL_R,KL_L\na,II,3\nb,1,1\n")
    said = done("prepare", "dicom", tmp_path / "in", "--out", tmp_path / "out", "--table", table, "--workers", "0")
    assert "2 knees from 3 radiographs" in said
    assert rows(tmp_path / "out") == {"a_R": ("1", "2"), "a_L": ("2", "3")}
    assert reasons(tmp_path / "out") == [("3", "one_knee")]


def test_a_table_by_path_tells_the_side_or_the_option_does(tmp_path: Path) -> None:
    write(tmp_path / "in/x.dcm", RIGHT, "a")
    write(tmp_path / "in/y.dcm", LEFT, "a")
    write(tmp_path / "in/z.dcm", LEFT, "a", ImageLaterality="R")
    table = tmp_path / "t.csv"
    table.write_text("path,side,grade,split\nX.DCM,right,1,test\ny.dcm,left,4,test\n")
    out = tmp_path / "out"
    done("prepare", "dicom", tmp_path / "in", "--out", out, "--table", table, "--workers", "0")
    assert rows(out) == {"a_R": ("x.dcm", "1"), "a_L": ("y.dcm", "4")}
    assert set(PreparedDataset.open(out).manifest.column("split").values()) == {"test"}
    table.write_text("path,side,grade\nz.dcm,left,4\ny.dcm,left,4\n")
    done("prepare", "dicom", tmp_path / "in", "--out", tmp_path / "p", "--table", table, "--workers", "0")
    assert reasons(tmp_path / "p") == [("z.dcm", "no_grade"), ("z.dcm", "side_conflict")]
    # A grade without a side is that of the one knee on the radiograph, which is found to be a right one.
    table.write_text("path,grade\nx.dcm,3\ny.dcm,2\n")
    said = done("prepare", "dicom", tmp_path / "in", "--out", tmp_path / "q", "--table", table, "--workers", "0",
                "--side", "unknown")  # fmt: skip
    assert rows(tmp_path / "q") == {"a_R": ("x.dcm", "3"), "a_L": ("y.dcm", "2")}
    assert "2 radiographs: the side of the knee is not known" in said


def test_each_knee_is_cut_from_the_radiograph_to_which_the_table_gives_its_grade(tmp_path: Path) -> None:
    for name, number in (("v1", 3), ("v2", 4)):
        write(tmp_path / "in" / name, draw_radiograph(number, number, LOOK).gray, "a")
    table = tmp_path / "t.csv"
    table.write_text("path,side,grade\nv1,R,1\nv2,L,2\n")
    done("prepare", "dicom", tmp_path / "in", "--out", tmp_path / "out", "--table", table, "--workers", "0")
    assert rows(tmp_path / "out") == {"a_R": ("v1", "1"), "a_L": ("v2", "2")}
    assert reasons(tmp_path / "out") == []


def test_a_table_of_patients_alone_gives_every_knee_and_a_lone_grade_needs_a_side(tmp_path: Path) -> None:
    write(tmp_path / "in/both", BOTH.gray, "a")
    write(tmp_path / "in/one", RIGHT, "b", ImageLaterality="R")
    table = tmp_path / "t.csv"
    table.write_text("path,patient,grade\nboth,p,\none,q,\n")
    command = ("prepare", "dicom", tmp_path / "in", "--table", table, "--workers", "0", "--out")
    done(*command, tmp_path / "out", "--ungraded")
    assert rows(tmp_path / "out") == {"p_R": ("both", ""), "p_L": ("both", ""), "q_R": ("one", "")}
    # A row that says no more than the patient leaves both knees without a grade.
    write(tmp_path / "one/both", BOTH.gray, "a")
    write(tmp_path / "two/1", RIGHT, "a", ImageLaterality="R")
    write(tmp_path / "two/2", LEFT, "a", ImageLaterality="L")
    by_header = ("--table", table, "--workers", "0", "--out")
    table.write_text("patient,site\na,X\n")
    for case in ("one", "two"):
        done("prepare", "dicom", tmp_path / case, *by_header, tmp_path / f"{case}.out", "--ungraded")
        assert sorted(rows(tmp_path / f"{case}.out")) == ["a_L", "a_R"]
    table.write_text("patient,grade\na,3\n")
    refused(kneeal("prepare", "dicom", tmp_path / "two", *by_header, tmp_path / "x"), "side_unknown 2", "KL_R and KL_L")
    # One grade for two knees says of neither what it is.
    table.write_text("path,patient,grade\nboth,p,2\n")
    refused(kneeal(*command, tmp_path / "lone"), "side_unknown 1", "KL_R and KL_L")


def test_where_nothing_can_be_used_the_reports_are_written_and_the_cure_helps(tmp_path: Path) -> None:
    write(tmp_path / "in/1", RIGHT, "a")
    write(tmp_path / "in/2", LEFT, "b", PixelSpacing=None)
    cv2.imwrite(str(tmp_path / "in/3.png"), np.rint(255 * LEFT))
    out = tmp_path / "out"
    command = ("prepare", "dicom", tmp_path / "in", "--out", out, "--workers", "0")
    result = kneeal(*command)
    refused(
        result, "no knee could be used", "--side R, L or unknown", "--mm-per-px", "sheet.html", ".out.work", "--table"
    )
    assert sorted(path.name for path in out.iterdir()) == ["rejected.csv", "sheet.html"]
    assert (
        reasons(out) == [("1", "one_knee"), ("2", "spacing"), ("3.png", "no_patient")]
        and "a_R or a_L was seen" in (out / "sheet.html").read_text()
    )
    # What was given is not proposed again.
    again = kneeal(*command, "--mm-per-px", "0.5")
    refused(again, "--side R")
    assert "--mm-per-px gives" not in again.stderr
    corrections = tmp_path / "c.csv"
    corrections.write_text("knee_id,x_mm,y_mm,angle_deg,reject\na_R,,,,\n")
    assert "1 knee from 2" in done(*command, "--corrections", corrections)
    assert rows(out) == {"a_R": ("1", "")} and not (tmp_path / ".out.work").exists()


def test_reports_of_an_earlier_start_below_the_source_are_no_radiographs(tmp_path: Path) -> None:
    write(tmp_path / "1", RIGHT, "a")
    for _ in range(2):
        result = kneeal("prepare", "dicom", tmp_path, "--out", tmp_path / "out", "--workers", "0")
        refused(result, "no knee could be used of 1 radiograph (one_knee 1)")


def test_a_path_that_is_no_list_is_refused_and_a_list_may_be_in_any_encoding(tmp_path: Path) -> None:
    write(tmp_path / "in/é", RIGHT, "a", ImageLaterality="R")
    cv2.imwrite(str(tmp_path / "in/x.png"), np.rint(255 * LEFT))
    (tmp_path / "in/empty").touch()
    for name in ("é", "x.png", "empty"):
        result = kneeal("prepare", "dicom", tmp_path / "in" / name, "--out", tmp_path / "out")
        refused(result, f"{name} is not a list of files", f"give the folder of the radiographs, {tmp_path / 'in'}")
    for k, encoding in enumerate(("utf-8-sig", "utf-16", "cp1252")):
        (tmp_path / "in/list").write_text("é\n", encoding)
        done("prepare", "dicom", tmp_path / "in/list", "--out", tmp_path / str(k), "--workers", "0")


def test_a_cure_fits_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("gone.dcm\n")
    lost = kneeal("prepare", "dicom", tmp_path / "list", "--out", tmp_path / "a", "--workers", "0")
    refused(lost, "no knee could be used (missing 1)", "paths are below SRC")
    assert "finished radiographs" not in lost.stderr
    # Pictures of one knee each: without headers, with patients alone, and read as radiographs.
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in/p_R.png"), np.rint(255 * LEFT)[80:380, 40:340])
    table = tmp_path / "t.csv"
    for text in ("", "patient,side,grade\np,R,2\n", "path,patient,side,grade\np_R.png,p,R,2\n"):
        table.write_text(text)
        given = ("--table", table, "--mm-per-px", "0.34") if text else ()
        result = kneeal("prepare", "dicom", tmp_path / "in", *given, "--out", tmp_path / "b", "--workers", "0")
        refused(result, "`kneeal prepare folder`")
        # The knee that is graded was looked for: more grades would not help.
        assert "--ungraded" not in result.stderr


def test_the_same_picture_of_two_patients_is_told(tmp_path: Path) -> None:
    for name, patient, gray, side in (
        ("1", "a", RIGHT, "R"), ("2", "b", RIGHT, "R"), ("3", "e\u0301", LEFT, "L"), ("4", "\u00e9", LEFT, "L"),
    ):  # fmt: skip
        write(tmp_path / "in" / name, gray, patient, ImageLaterality=side, SpecificCharacterSet="ISO_IR 192")
    said = done("prepare", "dicom", tmp_path / "in", "--out", tmp_path / "out", "--workers", "0")
    told = "1 knee given for several patients or both sides (0 of them in two splits, 0 under two grades): "
    assert told + "a (1), R = b (2), R\n" in said
    # One person, whose name is written with other accents: one knee.
    assert sorted(rows(tmp_path / "out")) == ["a_R", "b_R", "\u00e9_L"]
    # One picture cannot be of both knees of a patient either.
    for name, side in (("1", "R"), ("2", "L")):
        write(tmp_path / "both" / name, RIGHT, "a", ImageLaterality=side)
    said = done("prepare", "dicom", tmp_path / "both", "--out", tmp_path / "a", "--workers", "0")
    assert told + "a (1), R = a (2), L\n" in said
    (tmp_path / "t.csv").write_text("path,patient,grade,split\n1,a,1,train\n2,b,3,test\n")
    (tmp_path / "both/2").write_bytes((tmp_path / "both/1").read_bytes())
    given = ("--table", tmp_path / "t.csv", "--out", tmp_path / "t", "--workers", "0")
    said = done("prepare", "dicom", tmp_path / "both", *given)
    found = "a (1, line 2), R KL 1 = b (2, line 3), R KL 3; the results would be"
    assert f"(1 of them in two splits, 1 under two grades): {found}" in said
    # Two patients, each of whom is said to have one of the knees.
    (tmp_path / "half").mkdir()
    for name in ("1", "2"):
        write(tmp_path / "half" / name, BOTH.gray, "x")
    (tmp_path / "t.csv").write_text("path,patient,side,grade\n1,a,R,1\n2,b,L,3\n")
    given = ("--table", tmp_path / "t.csv", "--out", tmp_path / "h", "--workers", "0")
    said = done("prepare", "dicom", tmp_path / "half", *given)
    assert "1 radiograph given for several patients" in said and "a (1, line 2) = b (2, line 3)\n" in said


def test_ids_of_one_person_are_refused_under_pseudonyms_too(tmp_path: Path) -> None:
    write(tmp_path / "in/1", RIGHT, "a7", ImageLaterality="R")
    write(tmp_path / "in/2", LEFT, "A7", ImageLaterality="L")
    (tmp_path / "key").write_text("k" * 32)
    command = ("prepare", "dicom", tmp_path / "in", "--out", tmp_path / "out", "--workers", "0")
    for given in ((), ("--pseudonymize", tmp_path / "key")):
        refused(kneeal(*command, *given), "patients under two names: A7 = a7")


def test_a_cure_helps_with_the_very_input(tmp_path: Path) -> None:
    """What a message proposes is done, and the knees are used."""
    wide = BOTH.gray.copy()
    wide[:, :HALF] = 0.02
    for case, tags in (("half", {}), ("wrong", {"ImageLaterality": "R"})):
        write(tmp_path / case / "1", wide, "a", **tags)
        # The left knee is seen, on its half: no option makes it the right one.
        command = ("prepare", "dicom", tmp_path / case, "--out", tmp_path / f"{case}.out", "--workers", "0")
        result = kneeal(*command)
        refused(result, "one_of_two 1", "may show both", "--corrections")
        assert "--side" not in result.stderr
        (tmp_path / "c.csv").write_text("knee_id,x_mm,y_mm,angle_deg,reject\na_L,,,,\n")
        done(*command, "--corrections", tmp_path / "c.csv")
        assert list(rows(tmp_path / f"{case}.out")) == ["a_L"]
    # What contradicts itself is decided by a person, either way.
    write(tmp_path / "odd/1", LEFT, "a", ImageLaterality="L", Laterality="R")
    command = ("prepare", "dicom", tmp_path / "odd", "--out", tmp_path / "odd.out", "--workers", "0")
    refused(kneeal(*command), "side_conflict 1", "--corrections")
    done(*command, "--corrections", tmp_path / "c.csv")
    assert list(rows(tmp_path / "odd.out")) == ["a_L"]
    # A wrong pixel size is corrected, and a knee that is not seen is marked.
    for name, gray in (("scale", BOTH.gray), ("upside", BOTH.gray[::-1])):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.rint(255 * gray).astype(np.uint8))
        (tmp_path / f"{name}.csv").write_text(f"path\n{name}.png\n")
    marks = tmp_path / "c.csv"
    marks.write_text("knee_id,x_mm,y_mm,angle_deg,reject\nupside_L,{},{},,\n".format(*BOTH.knees[1].center_mm))
    for name, wrong, cure, knees in (
        ("scale", "0.1", ("--mm-per-px", "0.5"), ["scale_R", "scale_L"]),
        ("upside", "0.5", ("--mm-per-px", "0.5", "--corrections", marks), ["upside_L"]),
    ):
        command = ("prepare", "dicom", tmp_path, "--out", tmp_path / f"{name}.out", "--workers", "0", "--ungraded",
                   "--table", tmp_path / f"{name}.csv")  # fmt: skip
        said = ("no_knee 1", f"a wrong pixel size (--mm-per-px {wrong})", "x_mm and y_mm")
        refused(kneeal(*command, "--mm-per-px", wrong), *said)
        done(*command, *cure)
        assert list(rows(tmp_path / f"{name}.out")) == knees
    # An id that no data set may have is replaced by a pseudonym.
    for k, patient in enumerate(("=1+1", "+1", "-2+3", "a,b")):
        write(tmp_path / "ids" / str(k), RIGHT, patient, ImageLaterality="R")
    command = ("prepare", "dicom", tmp_path / "ids", "--out", tmp_path / "ids.out", "--workers", "0")
    refused(kneeal(*command), "bad_id 4", "--pseudonymize")
    (tmp_path / "key").write_text("k" * 32)
    done(*command, "--pseudonymize", tmp_path / "key")
    assert len(rows(tmp_path / "ids.out")) == 4


def test_what_is_no_file_or_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "in/1", RIGHT, "a", ImageLaterality="R")
    write(tmp_path / "elsewhere/2", RIGHT, "b", ImageLaterality="R")
    (tmp_path / "in/link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "in/gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "in/pipe")
    (tmp_path / "in/closed").mkdir()
    (tmp_path / "in/denied").touch()
    scan, opened = os.scandir, Path.open

    def scandir(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    def open_(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "denied":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(Path, "open", open_)
    done("prepare", "dicom", tmp_path / "in", "--out", tmp_path / "out", "--workers", "0")
    names = ("closed", "denied", "gone", "link", "pipe")
    assert reasons(tmp_path / "out") == [(name, "unreadable") for name in names]
    assert "Permission denied" in (tmp_path / "out/rejected.csv").read_text()


def test_a_deflated_file_is_not_unpacked_and_formulas_are_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "in/1", RIGHT, "a", ImageLaterality="R")
    header = pydicom.dcmread(tmp_path / "in/1")
    header.PatientID = "=cmd()"
    header.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    header.save_as(tmp_path / "in/=2", enforce_file_format=True)
    write(tmp_path / "in/3", RIGHT, "@x")
    read = pydicom.dcmread

    def watched(path: Any, **options: Any) -> Any:
        assert Path(getattr(path, "name", path)).name != "=2"
        return read(path, **options)

    monkeypatch.setattr(pydicom, "dcmread", watched)
    done("prepare", "dicom", tmp_path / "in", "--out", tmp_path / "out", "--workers", "0")
    assert reasons(tmp_path / "out") == [("'=2", "codec"), ("3", "bad_id")]
    assert "\n@x" not in (tmp_path / "out/rejected.csv").read_text()
