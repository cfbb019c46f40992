from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kneeal.data.manifest import COLUMNS, check_manifest, read_manifest
from kneeal.errors import UserError, some

HEADER = ",".join(COLUMNS)
GOOD = ("0012_L,0012,L,A,3,a.png,train", "0012_R,0012,R,A,,b.png,train", "7_L,7,L,,4.0,,")


def write(folder: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join((header, *rows)) + "\n", encoding=encoding)
    return path


def test_ids_keep_their_zeros_and_unknown_grades_are_absent(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, *GOOD))
    assert len(manifest) == 3
    assert manifest.ids == ("0012_L", "0012_R", "7_L")
    assert manifest.kl == {"0012_L": 3, "7_L": 4}
    assert manifest.patients == {"0012_L": "0012", "0012_R": "0012", "7_L": "7"}
    assert manifest.column("site") == {"0012_L": "A", "0012_R": "A", "7_L": ""}
    assert manifest.column("split") == {"0012_L": "train", "0012_R": "train", "7_L": ""}


def test_texts_that_pandas_takes_for_missing_stay_texts(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, "NA,null,L,None,1,nan,"))
    assert manifest.patients == {"NA": "null"}
    assert manifest.column("site") == {"NA": "None"}


def test_extra_columns_stay(tmp_path: Path) -> None:
    path = write(tmp_path, "a,p,L,,1,,,61", header=HEADER + ",age")
    assert list(read_manifest(path).frame["age"]) == ["61"]


def test_a_byte_order_mark_and_other_alphabets_are_read(tmp_path: Path) -> None:
    assert read_manifest(write(tmp_path, "膝_L,Ä1,L,,1,,", encoding="utf-8-sig")).patients == {"膝_L": "Ä1"}


def test_missing_values_of_a_table_in_memory_become_empty() -> None:
    frame = pd.DataFrame([["a", "p", "L", None, np.nan, "", ""], ["b", "q", "R", "A", 2.0, "", ""]], columns=COLUMNS)
    manifest = check_manifest(frame, "table")
    assert manifest.kl == {"b": 2}
    assert manifest.column("site") == {"a": "", "b": "A"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("b,q,L,,7,,", ("kl '7' in line 3", "0 to 4")),
        ("b,q,L,,2.5,,", ("kl '2.5' in line 3",)),
        ("b,q,L,,x,,", ("kl 'x' in line 3",)),
        ("b,q,L,,-1,,", ("kl '-1' in line 3",)),
        ("b,q,left,,1,,", ("side 'left' in line 3", "L or R")),
        ("b,q,L,,1,,dev", ("split 'dev' in line 3", "train, val or test")),
        (",q,L,,1,,", ("knee_id '' in line 3",)),
        ("b,,L,,1,,", ("patient_id '' in line 3",)),
        ("b, q,L,,1,,", ("patient_id ' q' in line 3", "blanks")),
        ('"b,c",q,L,,1,,', ("knee_id 'b,c' in line 3",)),
        ("../b,q,L,,1,,", ("knee_id '../b' in line 3",)),
        ('"b\nc",q,L,,1,,', ("knee_id 'b\\nc'",)),
        ("b\tc,q,L,,1,,", ("knee_id 'b\\tc' in line 3",)),
        ("a,q,L,,1,,", ("knee_id 'a' in line 2, 'a' in line 3", "once")),
        ("b,p,R,,1,,val", ("patients in two splits: p", "one split")),
        ("b,q,L,,1", ("line 3 has 5 cells", "7 cells")),
        ("b,q,L,,1,,,,x", ("line 3 has 9 cells", "7 cells")),
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path: Path, row: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        read_manifest(write(tmp_path, "a,p,L,,1,,train", row))
    for word in words:
        assert word in str(caught.value)


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="in line 5"):
        read_manifest(write(tmp_path, "a,p,L,,1,,", "", "", "b,q,L,,9,,"))


def test_five_offenders_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_manifest(write(tmp_path, *(f"k{n},p{n},L,,9,," for n in range(8))))
    assert caught.value.found.count("in line") == 5
    assert "and 3 more" in caught.value.found


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="without the columns side, kl"):
        read_manifest(write(tmp_path, "a,p,,,", header="knee_id,patient_id,site,path,split"))


def test_a_column_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="twice: 'kl'"):
        read_manifest(write(tmp_path, "a,p,L,,1,,,2", header=HEADER + ",kl"))


@pytest.mark.parametrize(
    "content",
    [b"", (HEADER + "\n").encode(), bytes(range(256)), b'knee_id,"patient_id'],
    ids=["empty", "header only", "binary", "open quote"],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.csv"):
        read_manifest(path)


def test_a_manifest_that_is_not_there_or_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        read_manifest(tmp_path / "manifest.csv")
    with pytest.raises(UserError, match="cannot be read"):
        read_manifest(tmp_path)


def test_some_names_and_a_count() -> None:
    assert some("abc") == "a, b, c"
    assert some("abcdefg", max_names=2) == "a, b and 5 more"


@pytest.mark.parametrize(
    ("one", "other"),
    [("9001695", "09001695"), ("9001695", "9001695.00"), ("Pat-7", "PAT-7"), ("7", "\uff17"), ("\u00e9va", "e\u0301va"),
     ("0", "00")],
)  # fmt: skip
def test_one_patient_under_two_names_is_refused(tmp_path: Path, one: str, other: str) -> None:
    rows = (f"{one}_L,{one},L,,1,,train", f"{other}_R,{other},R,,2,,test")
    with pytest.raises(UserError, match="two names") as caught:
        read_manifest(write(tmp_path, *rows))
    assert f"{one} in line 2" in caught.value.found and f"{other} in line 3" in caught.value.found


def test_ids_that_differ_otherwise_are_different_patients(tmp_path: Path) -> None:
    names = ("1", "10", "1.5", "A1", "A01", "1-0")
    assert len(read_manifest(write(tmp_path, *(f"{name}_L,{name},L,,1,," for name in names)))) == 6
