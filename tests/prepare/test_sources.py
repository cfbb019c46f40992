"""The sources `most` and `dicom`, tables, corrections, pseudonyms: their rules, on tables of a few rows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.archive import radiograph_header

from kneeal.errors import UserError
from kneeal.prepare.dicom_folder import plan_dicom
from kneeal.prepare.most import plan_most
from kneeal.prepare.pipeline import pseudonym, read_key
from kneeal.prepare.tables import coded_grade, coded_number, find_table, identifier, read_rows
from kneeal.prepare.tasks import Correction, read_corrections

GRAY = np.random.default_rng(0).random((8, 9), dtype=np.float32)


def radiograph(path: Path, patient: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    radiograph_header(GRAY, 0.2, patient=patient).save_as(path, enforce_file_format=True)


def test_most_takes_the_wanted_view_of_the_visit_and_real_grades(tmp_path: Path) -> None:
    (tmp_path / "mostv01235xray.csv").write_text(
        "MOSTID,V0XRKL,V0XLKL\nMB00001,2,1.9\nMI00002,8,0\nMB00003,1,1\nMB00004,3,3\n"
    )
    (tmp_path / "mostv0enroll.csv").write_text("MOSTID,AGE\nMB00001,60\nMI00002,61\nMB00003,62\n")
    for name in ("MB00001_a/V0AB/x/PA10/f1", "MB00001_a/V0AB/x/PA10/f2", "MB00001_a/V0AB/x/PA05/f", "MI00002/V0/PA10/f",
                 "MB00003/V2/PA10/f", "MB00003/V0/LAT/f", "MB00004/V0/PA10/f"):  # fmt: skip
        radiograph(tmp_path / name, "x")
    plan = plan_most(tmp_path)
    assert [(t.name, t.patient, dict(t.grades), t.site) for t in plan.tasks] == [
        ("MB00001_a/V0AB/x/PA10/f1", "MB00001", {"R": 2}, "B"),
        ("MI00002/V0/PA10/f", "MI00002", {"L": 0}, "I"),
    ]
    assert sorted((r.patient, r.side, r.reason) for r in plan.rejected) == [
        ("MB00001", "L", "no_grade"), ("MI00002", "R", "no_grade"),
    ]  # fmt: skip
    assert [[spare.name for spare in t.alternatives] for t in plan.tasks] == [["MB00001_a/V0AB/x/PA10/f2"], []]
    assert plan.notes == ["1 enrolled patients have no such radiograph"]
    assert dict(plan_most(tmp_path, ungraded=True).tasks[0].grades) == {"R": 2, "L": None}
    for wrong, said in (({"visit": "7"}, "--visit 7"), ({"view": "PA15"}, "PA15")):
        with pytest.raises(UserError, match=said):
            plan_most(tmp_path, **wrong)  # type: ignore[arg-type]
    (tmp_path / "mostv01235xray.csv").write_text("MOSTID,V0XRKL\nMB00001,2\n")
    with pytest.raises(UserError, match="V0XLKL"):
        plan_most(tmp_path)


def test_what_rows_of_a_table_say_against_each_other_is_refused(tmp_path: Path) -> None:
    radiographs, table = tmp_path / "radiographs", tmp_path / "g.csv"
    for name in ("a", "b"):
        radiograph(radiographs / name, "p")
    for text, said in (
        ("path,patient,grade\na,p,2\na,p,3\n", "line 3 .*second grade"),
        ("path,patient,side,grade\na,p,R,2\na,p,,3\n", "line 3 .*second grade"),
        ("path,patient,side,grade,site\na,p,R,2,X\na,p,L,2,Y\n", "second site of the same patient in line 3"),
        (
            "path,patient,side,grade,split\na,p,R,2,train\n\nb,p,L,2,test\n",
            "second split of the same patient in line 4",
        ),
    ):
        table.write_text(text)
        with pytest.raises(UserError, match=said):
            plan_dicom(radiographs, table=table)
    table.write_text("path,patient,side,grade,site,split\na,p,R,2,X,Training\nb,p,L,2,,\n")
    (task,) = plan_dicom(radiographs, table=table).tasks
    assert (task.site, task.split) == ("X", "train")


def test_dicom_finds_radiographs_by_their_header(tmp_path: Path) -> None:
    radiographs, table = tmp_path / "radiographs", tmp_path / "g.csv"
    for name, patient in (("a", "p1"), ("b/c", "p2"), ("d", "p1"), ("e", "p9")):
        radiograph(radiographs / name, patient)
    (radiographs / "notes.txt").write_text("no radiograph")
    table.write_text("Who;Knee;KL;Clinic\np1;left;3;Ost\np1;R;0;Ost\np2;2;4;West\np5;R;1;West\n")
    columns = {"patient": "who", "side": "knee", "grade": "kl", "site": "clinic"}
    plan = plan_dicom(radiographs, table=table, columns=columns)
    assert [(t.name, t.patient, dict(t.grades), t.site) for t in plan.tasks] == [
        ("a", "p1", {"R": 0, "L": 3}, "Ost"), ("b/c", "p2", {"L": 4}, "West"),
    ]  # fmt: skip
    assert sorted((r.name, r.side, r.reason) for r in plan.rejected) == [
        ("b/c", "R", "no_grade"), ("e", "L", "no_grade"), ("e", "R", "no_grade"), ("notes.txt", "", "no_patient"),
    ]  # fmt: skip
    assert [[(spare.name, dict(spare.grades)) for spare in t.alternatives] for t in plan.tasks] == [
        [("d", {"R": 0, "L": 3})], [],
    ]  # fmt: skip
    assert plan.notes == ["1 patient of the table without a radiograph"]
    assert [t.patient for t in plan_dicom(radiographs).tasks] == ["p1", "p2", "p9"]
    with pytest.raises(UserError, match="without the column clinic"):
        table.write_text("who,knee,kl\nnobody,R,1\n")
        plan_dicom(radiographs, table=table, columns=columns)
    columns = {"patient": "who", "side": "knee", "grade": "kl"}
    with pytest.raises(UserError, match="nobody"):
        plan_dicom(radiographs, table=table, columns=columns)
    table.write_text("who,knee,kl\np1,R,1\np1,R,2\np1,up,2\n")
    with pytest.raises(UserError, match="'up' in line 4"):
        plan_dicom(radiographs, table=table, columns=columns)


@pytest.mark.parametrize(("header", "cell"), [("007", "7"), ("ab1", "AB1"), ("0012", "12.00")])
def test_an_id_that_a_spreadsheet_has_changed_loses_no_knee_unseen(tmp_path: Path, header: str, cell: str) -> None:
    radiographs, table = tmp_path / "radiographs", tmp_path / "g.csv"
    for name, patient in (("a", header), ("b", "p2"), ("c", "x1"), ("d", "X1")):
        radiograph(radiographs / name, patient)
    table.write_text(f"patient,KL_R,KL_L\n{cell},1,1\np2,2,2\n")
    with pytest.raises(UserError, match=f"patients under two names: ({header} = {cell}|{cell} = {header})"):
        plan_dicom(radiographs, table=table)
    # Ids of which the table knows nothing are no matter of the table.
    table.write_text("patient,KL_R,KL_L\np2,2,2\n")
    assert [task.patient for task in plan_dicom(radiographs, table=table).tasks] == ["p2"]
    table.write_text("patient,side,grade\np2,R,2\nP2,L,2\n")
    with pytest.raises(UserError, match="P2 = p2"):
        plan_dicom(radiographs, table=table)


def test_a_grade_by_path_counts_for_its_radiograph_alone(tmp_path: Path) -> None:
    for name in ("v1", "v2", "v3"):
        radiograph(tmp_path / "in" / name, "A")
    table = tmp_path / "t.csv"
    table.write_text("path,side,grade\nv1,R,1\nv2,L,2\nv3,R,1\nv3,L,2\n")
    (task,) = plan_dicom(tmp_path / "in", table=table).tasks
    tried = [(one.name, dict(one.grades), one.side) for one in (task, *task.alternatives)]
    assert tried == [("v1", {"R": 1}, "R"), ("v2", {"L": 2}, "L"), ("v3", {"R": 1, "L": 2}, "")]
    assert plan_dicom(tmp_path / "in", table=table).notes == []
    radiograph(tmp_path / "in" / "v4", "A")
    assert plan_dicom(tmp_path / "in", table=table).notes == ["1 file of the folder not named in the table"]
    # A side that the table gives to none of them may be on each.
    table.write_text("path,side,grade\nv1,R,1\nv2,R,1\n")
    (task,) = plan_dicom(tmp_path / "in", table=table, ungraded=True).tasks
    assert [dict(one.grades) for one in (task, *task.alternatives)] == [{"R": 1, "L": None}] * 2


def test_dicom_takes_paths_of_a_table_or_a_list(tmp_path: Path) -> None:
    radiograph(tmp_path / "radiographs" / "бедро", "x")
    (tmp_path / "radiographs" / "loop").symlink_to("loop")
    table = tmp_path / "g.csv"
    table.write_text("patient,side,grade,file\np1,R,1,бедро\np2,R,1,../g.csv\np3,L,1,gone\np4,L,1,loop\n", "utf-8")
    plan = plan_dicom(tmp_path / "radiographs", table=table, columns={"path": "file"})
    assert [(t.name, t.patient) for t in plan.tasks] == [("бедро", "p1")]
    assert [(r.patient, r.reason) for r in plan.rejected if r.reason != "no_grade"] == [
        ("p2", "outside"), ("p3", "missing"), ("p4", "missing"),
    ]  # fmt: skip
    # A line with a grade for each side names one file.
    (tmp_path / "wide.csv").write_text("path,KL_R,KL_L\ngone,1,2\n", "utf-8")
    plan = plan_dicom(tmp_path / "radiographs", table=tmp_path / "wide.csv")
    assert [(r.name, r.reason) for r in plan.rejected] == [("gone", "missing")]
    listed = tmp_path / "list.txt"
    listed.write_text("radiographs/бедро\n\n../secret\nradiographs/gone\n", "utf-8")
    plan = plan_dicom(listed)
    assert [t.name for t in plan.tasks] == ["radiographs/бедро"]
    assert [r.reason for r in plan.rejected] == ["outside", "missing"]


def test_a_grade_of_one_radiograph_and_one_of_a_side_go_together_and_none_is_lost_unseen(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("one", "two", "three"):
        (tmp_path / "in" / name).write_bytes(b"")
    table = tmp_path / "t.csv"
    table.write_text("path,patient,side,grade\none,B,,3\ntwo,B,L,\nthree,C,,n/a\n")
    plan = plan_dicom(tmp_path / "in", table=table)
    assert [(task.name, dict(task.grades)) for task in plan.tasks] == [("one", {"": 3})]
    assert [(r.name, r.side, r.reason) for r in plan.rejected] == [("two", "L", "no_grade"), ("three", "", "no_grade")]


def test_tables_are_read_whatever_their_separator_and_letters(tmp_path: Path) -> None:
    for k, mark in enumerate("|\t;,"):
        path = tmp_path / f"t{k}.txt"
        path.write_bytes(f"Id{mark}Käse\n 7 {mark}é\n".encode("utf-8-sig" if k % 2 else "cp1252"))
        assert read_rows(path, ("ID",)) == [{"id": "7", "käse": "é"}]
    (tmp_path / "ragged.csv").write_text("a,b\n1\n")
    (tmp_path / "broken.sas7bdat").write_bytes(b"SAS")
    for name, said in (("ragged.csv", "line 2"), ("broken.sas7bdat", "cannot be read"), ("gone.csv", "no file")):
        with pytest.raises(UserError, match=said):
            read_rows(tmp_path / name)
    assert find_table(tmp_path, ("none", "T1"), "x").name == "t1.txt"
    assert [coded_grade(text) for text in ("4", "2.0", "1.9", "8", ".: Missing", "")] == [4, 2, None, None, None, None]
    assert (coded_number("1: Right"), coded_number("x"), identifier(" 9000099.0 ")) == (1.0, None, "9000099")


def test_corrections_are_read_or_their_cells_named(tmp_path: Path) -> None:
    path, head = tmp_path / "c.csv", "knee_id;x_mm;y_mm;angle_deg;reject\n"
    path.write_text(f"{head}a;1;2,5;3;\nb;;;;YES\nc;;;;\nd;;;-4;no\n")
    assert read_corrections(path) == {
        "a": Correction(False, (1.0, 2.5), 3.0, "line 2"), "b": Correction(True, where="line 3"),
        "c": Correction(False, where="line 4"), "d": Correction(False, None, -4.0, "line 5"),
    }  # fmt: skip
    for row, said in (
        ("a;1;;;", "line 2 (x_mm '1'), line 2 (y_mm '')"), ("a;one;2;;", "line 2 (x_mm 'one')"),
        ("a;nan;2;;", "line 2 (x_mm 'nan')"), ("a;;;;perhaps", "line 2 (reject 'perhaps')"),
        (";1;2;3;", "line 2 (knee_id '')"), ("ok;;;;\nok;;;;", "line 3 (knee_id 'ok')"),
        ("a;1;2;400;", "line 2 (angle_deg '400')"), ("a;;;-45,5;", "line 2 (angle_deg '-45,5')"),
    ):  # fmt: skip
        path.write_text(head + row + "\n")
        with pytest.raises(UserError, match=re.escape(said)):
            read_corrections(path)


def test_a_pseudonym_is_the_same_for_a_key_and_needs_a_long_one(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b" 0123456789abcdef\n")
    key = read_key(path)
    assert key == b"0123456789abcdef" and pseudonym(key, "9000099") != pseudonym(key, "9000098")
    assert pseudonym(key, "") == "" and "9000099" not in pseudonym(key, "9000099")
    path.write_bytes(b"short")
    for bad in (path, tmp_path / "none"):
        with pytest.raises(UserError, match="pseudonymize"):
            read_key(bad)
